/* SPDX-License-Identifier: Apache-2.0 */
/* translator.cc -- the default emitter: SPIRV-LLVM-Translator, which has no C interface, on
 * LLVM 15.
 *
 * Pointers are typed: the translator of this version gives up on some functions of opaque
 * ones. The module is of version 1.3, or older if that will do, and no extension is allowed:
 * what needs one is refused.
 */
#include "emit.h"

#include <LLVMSPIRVLib/LLVMSPIRVLib.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/IR/Module.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

const char kspv_name[] = "spirv";
const bool kspv_takes_functions = true;

void kspv_start(void)
{
}

void kspv_prepare_context(LLVMContextRef c)
{
	LLVMContextSetOpaquePointers(c, false);
}

bool kspv_prepare_module(LLVMModuleRef m, kspv_words *out)
{
	(void)out;
	LLVMSetTarget(m, "spir64-unknown-unknown");
	LLVMSetDataLayout(m, "e-i64:64-v16:16-v24:32-v32:32-v48:64-v96:128-v192:256-v256:256-"
	                     "v512:512-v1024:1024");
	return true;
}

static bool fail(kspv_words *out, const char *what)
{
	snprintf(out->why, sizeof out->why, "SPIRV-LLVM-Translator: %.160s", what);
	return false;
}

/* Of an intrinsic that it doesn't know the translator makes an end of the process. */
static bool known(llvm::StringRef name)
{
	static const char *const intrinsics[] = { "llvm.copysign.",  "llvm.fabs.",
		                                  "llvm.floor.",     "llvm.fma.",
		                                  "llvm.roundeven.", "llvm.sqrt." };

	for (const char *i : intrinsics)
		if (name.startswith(i))
			return true;
	return !name.startswith("llvm.");
}

bool kspv_emit(LLVMModuleRef m, bool text, unsigned, kspv_words *out)
{
	SPIRV::TranslatorOpts::ExtensionsStatusMap none;
	SPIRV::TranslatorOpts options(SPIRV::VersionNumber::SPIRV_1_3, none);
	std::ostringstream stream;
	std::string error;

	if (text)
		return fail(out, "it has no text for SPIR-V; spirv-dis reads what --emit spirv "
		                 "writes");
	for (const llvm::Function &f : *llvm::unwrap(m))
		if (!known(f.getName()))
			return fail(out, (f.getName() + " is unknown to it").str().c_str());
	options.setFPContractMode(SPIRV::FPContractMode::Off);
	if (!llvm::writeSpirv(llvm::unwrap(m), options, stream, error))
		return fail(out, error.c_str());
	const std::string words = stream.str();
	out->bytes = static_cast<char *>(malloc(words.size() + 1));
	if (!out->bytes)
		return fail(out, "out of memory");
	memcpy(out->bytes, words.c_str(), words.size() + 1);
	out->n = words.size();
	return true;
}
