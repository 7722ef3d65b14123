// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "creds.h"
#include "scratch.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>

/* write() to a set-user-ID file drops the bit, but for who has CAP_FSETID. */
static bool write_keeps_suid(struct scratch *s)
{
	struct stat st;
	int fd = openat(s->fd, "suid", O_CREAT | O_RDWR | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 04755), 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return st.st_mode & S_ISUID;
}

static void fsetid_decides_about_suid(void **state)
{
	struct scratch *s = *state;
	bool had = ply_creds_has(CAP_FSETID);
	/* write() asks for the capability of the initial namespace (kernel: setattr_should_drop_suidgid). */
	bool keeps = had && ply_creds_in_init_userns();

	assert_int_equal(ply_creds_fsetid(false), 0);
	assert_false(ply_creds_has(CAP_FSETID));
	assert_false(write_keeps_suid(s));
	assert_int_equal(ply_creds_fsetid(false), 0);
	assert_int_equal(ply_creds_fsetid(true), 0);
	assert_int_equal(ply_creds_has(CAP_FSETID), had);
	assert_int_equal(write_keeps_suid(s), keeps);
}

static void *drop_in_thread(void *arg)
{
	*(int *)arg = ply_creds_fsetid(false);
	return NULL;
}

static void fsetid_is_of_one_thread(void **state)
{
	bool had = ply_creds_has(CAP_FSETID);
	pthread_t t;
	int r = 1;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, drop_in_thread, &r), 0);
	pthread_join(t, NULL);
	assert_int_equal(r, 0);
	assert_int_equal(ply_creds_has(CAP_FSETID), had);
}

static void registration_keeps_sys_admin_alone(void **state)
{
	bool admin = ply_creds_has(CAP_SYS_ADMIN), chown = ply_creds_has(CAP_CHOWN), fsetid = ply_creds_has(CAP_FSETID);
	int r = ply_creds_registration_begin();

	(void)state;
	if (!admin) {
		assert_int_equal(r, -EPERM);
		ply_creds_registration_end();
		skip();
	}
	assert_int_equal(r, 0);
	assert_true(ply_creds_has(CAP_SYS_ADMIN));
	assert_false(ply_creds_has(CAP_CHOWN));
	assert_false(ply_creds_has(CAP_FSETID));
	assert_false(ply_creds_has(CAP_DAC_OVERRIDE));
	ply_creds_registration_end();
	assert_int_equal(ply_creds_has(CAP_CHOWN), chown);
	assert_int_equal(ply_creds_has(CAP_FSETID), fsetid);
	ply_creds_registration_end();
	assert_true(ply_creds_has(CAP_SYS_ADMIN));
	/* With CAP_FSETID dropped before, it stays so. */
	assert_int_equal(ply_creds_fsetid(false), 0);
	assert_int_equal(ply_creds_registration_begin(), 0);
	ply_creds_registration_end();
	assert_false(ply_creds_has(CAP_FSETID));
	assert_int_equal(ply_creds_fsetid(true), 0);
	assert_int_equal(ply_creds_has(CAP_FSETID), fsetid);
}

static int drop_all(void *arg)
{
	bool admin = ply_creds_has(CAP_SYS_ADMIN), chown = ply_creds_has(CAP_CHOWN);

	(void)arg;
	if (ply_creds_drop())
		return 1;
	if (ply_creds_has(CAP_NET_ADMIN) || ply_creds_has(CAP_SYS_PTRACE) || ply_creds_has(CAP_SETUID))
		return 2;
	return ply_creds_has(CAP_SYS_ADMIN) != admin || ply_creds_has(CAP_CHOWN) != chown ? 3 : 0;
}

static void serving_needs_few(void **state)
{
	(void)state;
	scratch_masked("", drop_all, NULL);
}

static int in_new_userns(void *arg)
{
	(void)arg;
	if (unshare(CLONE_NEWUSER))
		return 0;
	return ply_creds_in_init_userns() ? 1 : !ply_creds_has(CAP_SYS_ADMIN);
}

static void namespaces_are_told_apart(void **state)
{
	(void)state;
	assert_false(ply_creds_has(-1));
	assert_false(ply_creds_has(64));
	scratch_masked("", in_new_userns, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(fsetid_decides_about_suid),
		cmocka_unit_test(fsetid_is_of_one_thread),
		cmocka_unit_test(registration_keeps_sys_admin_alone),
		cmocka_unit_test(serving_needs_few),
		cmocka_unit_test(namespaces_are_told_apart),
	};

	return cmocka_run_group_tests_name("creds", tests, NULL, NULL);
}
