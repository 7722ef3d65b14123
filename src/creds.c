// SPDX-License-Identifier: GPL-2.0-or-later
#include "creds.h"

#include "sys.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdatomic.h>

/* Inode number of the initial user namespace in nsfs (linux/proc_ns.h: PROC_USER_INIT_INO). */
#define INIT_USERNS_INO 0xeffffffdu

#define CAP_BIT(cap) (1ull << (cap))

/* The sets of this thread, as 64 bit numbers. */
struct caps {
	uint64_t effective, permitted, inheritable;
};

static int caps_get(struct caps *c)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	/* libcap's functions allocate and, with libpsx, change all threads. */
	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	c->effective = d[0].effective | (uint64_t)d[1].effective << 32;
	c->permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	c->inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	return 0;
}

static int caps_set(const struct caps *c)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3] = {
		{ (uint32_t)c->effective, (uint32_t)c->permitted, (uint32_t)c->inheritable },
		{ (uint32_t)(c->effective >> 32), (uint32_t)(c->permitted >> 32), (uint32_t)(c->inheritable >> 32) },
	};

	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

bool ply_creds_has(int cap)
{
	struct caps c;

	return cap >= 0 && cap < 64 && !caps_get(&c) && (c.effective & CAP_BIT(cap));
}

bool ply_creds_in_init_userns(void)
{
	struct stat st;

	/* uid_map tells nothing: a namespace can map everything to itself. */
	return !stat("/proc/self/ns/user", &st) && st.st_ino == INIT_USERNS_INO;
}

int ply_creds_drop(void)
{
	const uint64_t keep = CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) |
			      CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) | CAP_BIT(CAP_MKNOD) |
			      CAP_BIT(CAP_SETFCAP) | CAP_BIT(CAP_SYS_ADMIN) | CAP_BIT(CAP_LEASE) |
			      CAP_BIT(CAP_LINUX_IMMUTABLE);
	struct caps c;
	int r = caps_get(&c);

	if (r)
		return r;
	c.effective &= keep;
	c.permitted &= keep;
	c.inheritable = 0;
	return caps_set(&c);
}

static __thread uint64_t effective_before;	/* between registration_begin and _end */

/* CAP_FSETID of this thread as fsetid() left it. */
static __thread enum { FSETID_UNKNOWN, FSETID_ON, FSETID_OFF, FSETID_NEVER } fsetid_state;

int ply_creds_registration_begin(void)
{
	struct caps c;
	uint64_t before;
	int r = caps_get(&c);

	if (r)
		return r;
	if (!(c.effective & CAP_BIT(CAP_SYS_ADMIN)))
		return -EPERM;
	before = c.effective;
	c.effective = CAP_BIT(CAP_SYS_ADMIN);
	r = caps_set(&c);
	if (!r)
		effective_before = before;
	return r;
}

void ply_creds_registration_end(void)
{
	struct caps c;

	if (!effective_before || caps_get(&c))
		return;
	/* Cannot fail: a subset of the permitted ones. */
	c.effective = effective_before;
	if (!caps_set(&c))
		effective_before = 0;
}

int ply_creds_fsetid(bool on)
{
	struct caps c;
	int r;

	if (fsetid_state == FSETID_NEVER || fsetid_state == (on ? FSETID_ON : FSETID_OFF))
		return 0;
	r = caps_get(&c);
	if (r)
		return r;
	if (!(c.permitted & CAP_BIT(CAP_FSETID))) {
		fsetid_state = FSETID_NEVER;
		return 0;
	}
	if (on)
		c.effective |= CAP_BIT(CAP_FSETID);
	else
		c.effective &= ~CAP_BIT(CAP_FSETID);
	r = caps_set(&c);
	if (!r)
		fsetid_state = on ? FSETID_ON : FSETID_OFF;
	return r;
}

bool ply_creds_is_root(pid_t pid)
{
	char path[64], text[1024];
	unsigned int ids[4];
	const char *line;
	ssize_t n;

	if (pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);

	ply_autofd fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	line = strstr(text, "\nUid:");
	return line && sscanf(line, "\nUid: %u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) == 4 && ids[3] == 0;
}
