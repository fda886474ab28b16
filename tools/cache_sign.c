/* SPDX-License-Identifier: Apache-2.0 */
/* cache_sign.c -- kvjit cache sign, keygen: keys and signatures in minisign's formats. */
#include "cache.h"
#include "../tune/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From the terminal without echo, else a line of standard input. */
static bool ask_password(char *out, size_t len)
{
	char *typed = isatty(STDIN_FILENO) ? getpass("Password: ") : NULL;

	if (typed) {
		snprintf(out, len, "%s", typed);
		sodium_memzero(typed, strlen(typed));
		return true;
	}
	if (!fgets(out, (int)len, stdin))
		return false;
	out[strcspn(out, "\r\n")] = '\0';
	return true;
}

static bool read_secret(const char *path, kt_secret *key)
{
	char why[200] = "", password[1024];
	char *text = tool_read(path, NULL);
	bool ok = false;

	if (!text) {
		cache_fail("there is no key file %s, or it can't be read", path);
		return false;
	}
	ok = kt_secret_parse(text, NULL, key, why, sizeof why);
	if (!ok && strstr(why, "protected by a password") &&
	    ask_password(password, sizeof password)) {
		ok = kt_secret_parse(text, password, key, why, sizeof why);
		sodium_memzero(password, sizeof password);
	}
	if (!ok)
		cache_fail("%s: %s", path, why);
	sodium_memzero(text, strlen(text));
	free(text);
	return ok;
}

int cache_sign(args *a, const char *dir)
{
	const char *path = args_value(a, "--key");
	kt_secret key;
	char why[600];

	(void)dir;
	if (!args_end(a, 1, 1))
		return TOOL_USAGE;
	if (!path) {
		cache_fail("option --key takes a secret key of minisign's format");
		return TOOL_USAGE;
	}
	if (!read_secret(path, &key))
		return TOOL_FAILED;
	bool ok = kt_pack_sign(a->argv[0], &key, why, sizeof why);
	kt_secret_wipe(&key);
	if (!ok)
		return cache_fail("%s: %s", a->argv[0], why);
	printf("%s.minisig\n", a->argv[0]);
	return TOOL_OK;
}

/* Never over a file that exists: a key that is lost can't be made again. */
static bool write_new(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	size_t n = strlen(text);
	bool ok = fd >= 0 && write(fd, text, n) == (ssize_t)n;
	int saved = errno;

	if (fd >= 0)
		ok &= close(fd) == 0;
	if (!ok)
		cache_fail("%s can't be written: %s", path, strerror(saved));
	return ok;
}

int cache_keygen(args *a, const char *dir)
{
	const char *name = args_value(a, "-o");
	char path[4200], text[1024], trusted[1024];
	kt_public pub;
	kt_secret sec;

	(void)dir;
	if (!args_end(a, 0, 0))
		return TOOL_USAGE;
	if (!name || !*name || strlen(name) > 4000) {
		cache_fail("option -o takes the name that NAME.key and NAME.pub get");
		return TOOL_USAGE;
	}
	if (!kt_keypair(&pub, &sec))
		return cache_fail("no key can be made: libsodium doesn't start");
	kt_secret_print(&sec, text, sizeof text);
	kt_secret_wipe(&sec);
	snprintf(path, sizeof path, "%s.key", name);
	bool ok = write_new(path, text, 0600);
	sodium_memzero(text, sizeof text);
	kt_public_print(&pub, trusted, sizeof trusted);
	snprintf(path, sizeof path, "%s.pub", name);
	if (!ok || !write_new(path, trusted, 0644))
		return TOOL_FAILED;
	char *base64 = strchr(trusted, '\n');
	const char *slash = strrchr(name, '/');
	if (base64)
		base64[1 + strcspn(base64 + 1, "\n")] = '\0';
	printf("for /etc/kvjit/trusted of those who are to run its packs' code:\nkey %s %s\n",
	       base64 ? base64 + 1 : trusted, slash ? slash + 1 : name);
	return TOOL_OK;
}
