/* SPDX-License-Identifier: Apache-2.0 */
/* tables.c -- the functions the loader looks up by name, one for each row of entries.def. */
#include "zecl.h"

#include <level_zero/zet_api.h>
#include <level_zero/zes_api.h>

#include <level_zero/ze_ddi.h>
#include <level_zero/zet_ddi.h>
#include <level_zero/zes_ddi.h>

#include <string.h>

/* clang-format off */
#define TABLE(api, name, type)                                                                 \
	ZE_DLLEXPORT ze_result_t ZE_APICALL api##Get##name##ProcAddrTable(                     \
	    ze_api_version_t version, type *table)                                             \
	{                                                                                      \
		if (!table)                                                                    \
			return ZE_RESULT_ERROR_INVALID_NULL_POINTER;                           \
		if (ZE_MAJOR_VERSION(version) != 1)                                            \
			return ZE_RESULT_ERROR_UNSUPPORTED_VERSION;                            \
		memset(table, 0, sizeof(*table));
#define ENTRY(field, function) table->field = function;
#define END                                                                                    \
		return ZE_RESULT_SUCCESS;                                                      \
	}
#include "entries.def"
/* clang-format on */
