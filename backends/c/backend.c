/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c -- the C backend: prints C, runs the system's `cc`, takes the image.
 *
 * It knows no target and no LLVM; it is slow to compile and its code plain. What it is for: to
 * show that the passes lower to something any compiler understands, and to check the x86
 * backend against another one. Files go to a directory of their own below TMPDIR.
 */
#include "c.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A directory and the names in it. */
typedef struct work {
	char dir[256], c[280], out[280], log[280];
} work;

static bool make_work(work *w, kir_diag *why)
{
	const char *tmp = getenv("TMPDIR");

	if (!tmp || !*tmp || strlen(tmp) > 200)
		tmp = "/tmp";
	snprintf(w->dir, sizeof w->dir, "%s/kvjit-c-XXXXXX", tmp);
	if (!mkdtemp(w->dir)) {
		kir_error(why, 0, 0, "backend c: can't make a directory in %s: %s", tmp,
		          strerror(errno));
		return false;
	}
	snprintf(w->c, sizeof w->c, "%s/kernel.c", w->dir);
	snprintf(w->out, sizeof w->out, "%s/kernel.out", w->dir);
	snprintf(w->log, sizeof w->log, "%s/log", w->dir);
	return true;
}

static void remove_work(const work *w)
{
	unlink(w->c);
	unlink(w->out);
	unlink(w->log);
	rmdir(w->dir);
}

static bool read_file(const char *path, kir_text *to)
{
	FILE *f = fopen(path, "rb");
	char buf[4096];
	size_t n;

	if (!f)
		return false;
	while ((n = fread(buf, 1, sizeof buf, f)) > 0) {
		if (to->len + n + 1 > to->cap) {
			size_t cap = 2 * (to->len + n + 1);
			char *text = realloc(to->text, cap);
			if (!text)
				break;
			to->text = text;
			to->cap = cap;
		}
		memcpy(to->text + to->len, buf, n);
		to->len += n;
		to->text[to->len] = 0;
	}
	fclose(f);
	return true;
}

static bool write_file(const char *path, const kir_text *t)
{
	FILE *f = fopen(path, "wb");
	bool ok = f && fwrite(t->text, 1, t->len, f) == t->len;

	return f ? fclose(f) == 0 && ok : false;
}

/* Starts the command with its messages going to the log; its exit status, -1 and errno if it
 * can't be started. */
static int run(const work *w, const char *const *argv)
{
	posix_spawn_file_actions_t act;
	pid_t pid;
	int rc, status;

	posix_spawn_file_actions_init(&act);
	posix_spawn_file_actions_addopen(&act, 1, w->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&act, 1, 2);
	rc = posix_spawnp(&pid, argv[0], &act, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&act);
	if (rc) {
		errno = rc;
		return -1;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool run_cc(const work *w, bool assembly, kir_diag *why)
{
	/* clang-format off */
	const char *const argv[] = {
		"cc", "-std=gnu11", "-O1", "-w", "-fPIC", "-ffp-contract=off", "-ffreestanding",
		"-fno-builtin", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing",
		"-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fvisibility=hidden",
		"-fno-jump-tables", "-fno-tree-loop-distribute-patterns", "-fno-ident",
		assembly ? "-S" : "-shared", "-nostdlib",
		"-Wl,--build-id=none,-z,noseparate-code,-z,norelro,-z,defs",
		"-o", w->out, w->c, NULL,
	};
	/* clang-format on */
	kir_text log = { 0 };
	int rc = run(w, argv);

	if (rc == 0)
		return true;
	if (rc < 0) {
		kir_error(
		    why, 0, 0,
		    "backend c: no C compiler: running 'cc' failed: %s; install one or use "
		    "the backend x86 or ref",
		    strerror(errno));
		return false;
	}
	read_file(w->log, &log);
	kir_error(why, 0, 0, "backend c: cc ended with %d: %.150s", rc,
	          log.len ? log.text : "(it said nothing)");
	free(log.text);
	return false;
}

/* Compiles f into the file w->out. */
static bool build(const kir_func *f, const work *w, bool assembly, kir_diag *why)
{
	kir_text source = { 0 };
	bool ok = kbe_c_source(f, &source, why);

	if (ok && !write_file(w->c, &source)) {
		kir_error(why, 0, 0, "backend c: can't write %s: %s", w->c, strerror(errno));
		ok = false;
	}
	free(source.text);
	return ok && run_cc(w, assembly, why);
}

static bool supports(const kir_target *t)
{
	(void)t;
	return true;
}

static bool compile(const kir_func *f, kbe_blob *out, kir_diag *why)
{
	kir_text elf = { 0 };
	work w;
	bool ok;

	if (!make_work(&w, why))
		return false;
	ok = build(f, &w, false, why);
	if (ok && !read_file(w.out, &elf)) {
		kir_error(why, 0, 0, "backend c: can't read %s: %s", w.out, strerror(errno));
		ok = false;
	}
	ok = ok && kbe_c_image((unsigned char *)elf.text, elf.len, out, why);
	free(elf.text);
	remove_work(&w);
	return ok;
}

static bool dump(const kir_func *f, kbe_dump what, kir_text *out, kir_diag *why)
{
	work w;
	bool ok;

	if (what == KBE_DUMP_SOURCE)
		return kbe_c_source(f, out, why);
	if (!make_work(&w, why))
		return false;
	ok = build(f, &w, what == KBE_DUMP_ASM, why) && read_file(w.out, out);
	remove_work(&w);
	return ok;
}

static const kbe_backend backend = {
	.version = KBE_VERSION,
	.name = "c",
	.build = &kir_own_build,
	.supports = supports,
	.compile = compile,
	.dump = dump,
};

__attribute__((visibility("default"))) const kbe_backend *kvjit_backend(void);

const kbe_backend *kvjit_backend(void)
{
	return &backend;
}
