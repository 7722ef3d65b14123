// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static FILE *captured;
static int saved_stderr;

/* What is written to stderr between the two calls. */
static void capture(void)
{
	captured = tmpfile();
	assert_non_null(captured);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(saved_stderr >= 0 && dup2(fileno(captured), STDERR_FILENO) >= 0);
}

static const char *release(void)
{
	static char text[16384];
	size_t n;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	rewind(captured);
	n = fread(text, 1, sizeof(text) - 1, captured);
	text[n] = 0;
	fclose(captured);
	return text;
}

static void a_line_is_one_line(void **state)
{
	(void)state;
	capture();
	errno = ENOTTY;
	ply_err("layer '%s' is gone", "a\nplyfs: forged\x1b[2J\x7f");
	assert_int_equal(errno, ENOTTY);
	assert_string_equal(release(), "plyfs: layer 'a?plyfs: forged?[2J?' is gone\n");
	capture();
	ply_warn("%s", "\xc3\xa4");
	assert_string_equal(release(), "plyfs: warning: \xc3\xa4\n");
}

static void long_lines_are_whole(void **state)
{
	static char name[5000];
	const char *text;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	capture();
	ply_info("%s!", name);
	text = release();
	assert_int_equal(strlen(text), strlen("plyfs: !\n") + sizeof(name) - 1);
	assert_string_equal(text + strlen(text) - 3, "n!\n");
}

static void debug_only_when_asked(void **state)
{
	(void)state;
	capture();
	ply_debug("one");
	ply_log_set_debug(true);
	ply_debug("two");
	ply_log_set_debug(false);
	ply_debug("three");
	assert_string_equal(release(), "plyfs: two\n");
}

#ifndef PLY_HARD_ASSERTS
static void warn_on_logs_once(void **state)
{
	int hits = 0;
	const char *text;

	(void)state;
	capture();
	for (int i = 0; i < 3; i++)
		if (PLY_WARN_ON(i != 0))
			hits++;
	text = release();
	assert_int_equal(hits, 2);
	assert_non_null(strstr(text, "i != 0"));
	assert_non_null(strstr(text, "test-log.c"));
	assert_null(strstr(strchr(text, '\n') + 1, "\n"));
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_one_line),
		cmocka_unit_test(long_lines_are_whole),
		cmocka_unit_test(debug_only_when_asked),
#ifndef PLY_HARD_ASSERTS
		cmocka_unit_test(warn_on_logs_once),
#endif
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
