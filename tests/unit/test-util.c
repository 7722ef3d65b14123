// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static void buf_grows_and_keeps_its_bytes(void **state)
{
	ply_autobuf b = { 0 };

	(void)state;
	assert_int_equal(ply_buf_add(&b, NULL, 0), 0);
	for (int i = 0; i < 10000; i++) {
		char c = (char)i;

		assert_int_equal(ply_buf_add(&b, &c, 1), 0);
	}
	assert_int_equal(b.len, 10000);
	assert_true(b.cap >= b.len && b.cap <= 3 * b.len);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(b.data[i], (char)i);
}

static void buf_text_ends_in_nul(void **state)
{
	ply_autobuf b = { 0 };

	(void)state;
	assert_int_equal(ply_buf_addstr(&b, ""), 0);
	assert_string_equal(b.data, "");
	assert_int_equal(b.len, 0);
	assert_int_equal(ply_buf_addstr(&b, "abc"), 0);
	assert_int_equal(ply_buf_printf(&b, "%d-%s", 42, "x"), 0);
	assert_string_equal(b.data, "abc42-x");
	assert_int_equal(b.len, 7);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(ply_buf_printf(&b, "%05d", i), 0);
	assert_int_equal(b.len, 5007);
	assert_int_equal(strlen(b.data), b.len);
	assert_memory_equal(b.data + b.len - 5, "00999", 6);
}

static void buf_refuses_what_overflows(void **state)
{
	ply_autobuf b = { 0 };

	(void)state;
	assert_int_equal(ply_buf_addstr(&b, "x"), 0);
	assert_int_equal(ply_buf_reserve(&b, SIZE_MAX), -ENOMEM);
	assert_string_equal(b.data, "x");
	ply_buf_free(&b);
	assert_null(b.data);
	assert_int_equal(b.len + b.cap, 0);
	ply_buf_free(&b);
}

struct item {
	int n;
	struct ply_list link;
};

static void list_keeps_its_order(void **state)
{
	struct item items[5];
	struct ply_list head, *e;
	int sum = 0;

	(void)state;
	ply_list_init(&head);
	assert_true(ply_list_empty(&head));
	for (int i = 0; i < 5; i++) {
		items[i].n = i;
		if (i % 2)
			ply_list_add(&head, &items[i].link);
		else
			ply_list_add_tail(&head, &items[i].link);
	}
	/* 3 1 0 2 4 */
	for (e = head.next; e != &head; e = e->next)
		sum = sum * 10 + ply_container_of(e, struct item, link)->n;
	assert_int_equal(sum, 31024);
	ply_list_del(&items[0].link);
	ply_list_del(&items[0].link);
	sum = 0;
	for (e = head.prev; e != &head; e = e->prev)
		sum = sum * 10 + ply_container_of(e, struct item, link)->n;
	assert_int_equal(sum, 4213);
	while (!ply_list_empty(&head))
		ply_list_del(head.next);
	assert_true(head.prev == &head);
}

static void cleanup_variables_let_go(void **state)
{
	int fd, kept;

	(void)state;
	{
		ply_autofd gone = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ply_autofd taken = open("/dev/null", O_RDONLY | O_CLOEXEC);
		ply_autofd none = -1;

		assert_true(gone >= 0 && taken >= 0 && none < 0);
		fd = gone;
		kept = ply_take_fd(&taken);
		assert_int_equal(taken, -1);
	}
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_true(fcntl(kept, F_GETFD) >= 0);
	close(kept);
	{
		ply_autofree char *p = strdup("x");
		char *q = ply_take_ptr(&p);

		assert_null(p);
		assert_string_equal(q, "x");
		free(q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_grows_and_keeps_its_bytes),
		cmocka_unit_test(buf_text_ends_in_nul),
		cmocka_unit_test(buf_refuses_what_overflows),
		cmocka_unit_test(list_keeps_its_order),
		cmocka_unit_test(cleanup_variables_let_go),
	};

	return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
