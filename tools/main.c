/* SPDX-License-Identifier: Apache-2.0 */
/* main.c -- the kvjit command: a table of subcommands. */
#include "output.h"
#include "tool.h"

#include "../ir/problem_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The operands are what --help says and what a wrong command line is told. `cache` has a table
 * of its own, and answers --help itself. */
static const struct command {
	const char *name;
	int (*run)(args *a);
	const char *operands, *doc;
} commands[] = {
	{ "info", tool_info, "[--target T] [--json]",
	  "what this machine is and which backends load" },
	{ "explain", tool_explain, "PROBLEM|FILE [--target T] [--backend B]",
	  "whether a problem runs here, why not, and what would be run" },
	{ "compile", tool_compile,
	  "PROGRAM [--emit "
	  "ir|tile|vector|llvm|asm|c|obj|schedule|resolved|spirv|native|native-asm|"
	  "counts] "
	  "[--target T] [--backend B] [--sched KNOBS] [-o FILE] [--native]",
	  "compile a problem string or a file, and print a stage of it" },
	{ "run", tool_run,
	  "PROGRAM --in NAME=FILE.npy... --out NAME=FILE.npy... [--set NAME=NUMBER...] "
	  "[--target T] [--backend B] [--sched KNOBS]",
	  "arrays in, arrays out" },
	{ "check", tool_check,
	  "PROBLEM [--seeds N] | --golden DIR [--only PART-OF-NAME] "
	  "[--spoil zero|gain|scale|window]  [--target T] [--backend B] [--sched KNOBS] "
	  "[--verbose] [--json]",
	  "every target and backend of this machine against the interpreter or stored data" },
	{ "bench", tool_bench,
	  "PROBLEM [--q-len N] [--threads N] [--cold|--warm] [--vs bf16|none] [--seconds S] "
	  "[--target T] [--backend B] [--sched KNOBS] [--json]",
	  "time, beside what the machine can do" },
	{ "tune", tool_tune,
	  "PROBLEM | --list FILE | --from RECORD | --check  [--budget SECONDS] [--effort "
	  "model|quick|full|exhaustive] "
	  "[--shard I/N] [--threads N] [--cold|--warm] [--target T] [--cache DIR] [--again] "
	  "[--seed N] [--json] [--report FILE.html] [--record FILE]",
	  "choose schedules by measuring, and keep them in the cache" },
	{ "cache", tool_cache,
	  "ls|show|why|stats|gains|gc|verify|merge|export|import|pin|unpin|pack|sign|keygen "
	  "... "
	  "[--cache DIR]",
	  "what is remembered of tuning and compiling, and shipping it" },
};
#define NCOMMANDS (sizeof commands / sizeof *commands)

char *tool_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	size_t cap = 0, n = 0, got = 1;
	while (f && got) {
		if (n + 1 >= cap) {
			cap = cap ? cap * 2 : 65536;
			char *more = realloc(text, cap);
			if (!more)
				break;
			text = more;
		}
		got = fread(text + n, 1, cap - n - 1, f);
		n += got;
	}
	if (f && (ferror(f) || got)) {
		free(text);
		text = NULL;
	}
	if (f)
		fclose(f);
	if (text)
		text[n] = '\0';
	if (len)
		*len = n;
	return text;
}

/* A first word that is no problem's: it has a '/' but no '=', or ends like a file, or is alone
 * and no kind of problem. */
static bool names_file(const args *a)
{
	const char *s = a->argc ? a->argv[0] : "", *dot = strrchr(s, '.');
	bool alone = a->argc == 1;
	if (!*s || strpbrk(s, " \t\n="))
		return false;
	for (unsigned i = 0; alone && i < KIR_NKIND; i++)
		alone = strcmp(s, kir_kinds[i]) != 0;
	if (alone)
		return true;
	return strchr(s, '/') || (dot && dot != s && strlen(dot) > 1 && strlen(dot) <= 7);
}

char *tool_program(const args *a)
{
	args rest = { .argc = a->argc - 1, .argv = a->argv + 1 };
	size_t bytes = 0;
	char *text = a->argc ? tool_read(a->argv[0], &bytes) : NULL;
	struct stat st;
	if (text && strlen(text) != bytes) {
		fprintf(stderr, "kvjit: %s is no text: byte %zu is 0\n", a->argv[0],
		        strlen(text));
		free(text);
		return NULL;
	}
	if (!text) {
		if (!names_file(a))
			return args_join(a);
		if (stat(a->argv[0], &st) == 0 && S_ISDIR(st.st_mode))
			fprintf(stderr, "kvjit: %s is a directory, not a file\n", a->argv[0]);
		else
			fprintf(stderr, "kvjit: there is no file %s, or it can't be read\n",
			        a->argv[0]);
		return NULL;
	}
	if (!rest.argc)
		return text;
	/* further fields end the problem, which is the file's last line */
	size_t len = strlen(text);
	char *more = args_join(&rest), *all = more ? malloc(len + strlen(more) + 2) : NULL;
	while (len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	if (all)
		sprintf(all, "%s\n%s", text, more);
	free(text);
	free(more);
	return all;
}

kvjit *tool_open(const char *target, const char *backend)
{
	kvjit_options o = { .size = sizeof o, .target = target, .backend = backend };
	kvjit *kv = NULL;
	if (kvjit_open(&o, &kv) == KVJIT_OK)
		return kv;
	fprintf(stderr, "kvjit: %s\n", kvjit_open_error());
	return NULL;
}

static void describe(FILE *to, const struct command *c)
{
	fprintf(to, "  %-8s %s\n           kvjit %s %s\n", c->name, c->doc, c->name,
	        c->operands);
}

static void usage(FILE *to)
{
	fprintf(to, "usage: kvjit SUBCOMMAND ... | --help | --version\n\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		describe(to, &commands[i]);
	fprintf(to,
	        "\nA PROGRAM is a problem string or a file with one or with IR text:\n"
	        "  kvjit check attn q=bf16 kv=int8/token-head heads=32:8 dim=128 page=128 "
	        "causal\nKVJIT_TARGET and KVJIT_BACKEND do what --target and --backend do.\n");
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return TOOL_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("kvjit %s, interface %d\n", KVJIT_RELEASE, KVJIT_VERSION);
		return TOOL_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return TOOL_OK;
	}
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0) {
			args a = { .argc = argc - 2,
				   .argv = argv + 2,
				   .name = commands[i].name,
				   .operands = commands[i].operands };
			if (commands[i].run != tool_cache && args_flag(&a, "--help")) {
				describe(stdout, &commands[i]);
				return TOOL_OK;
			}
			return commands[i].run(&a);
		}
	fprintf(stderr, "kvjit: there is no subcommand '%s'\n", argv[1]);
	usage(stderr);
	return TOOL_USAGE;
}

int main(int argc, char **argv)
{
	output_begin();
	return output_end("kvjit", run(argc, argv));
}
