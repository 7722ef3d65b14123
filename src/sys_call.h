/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sys_call: what the rooms of sys share. */
#ifndef PLY_SYS_CALL_H
#define PLY_SYS_CALL_H

#include <errno.h>

/* Runs a call again while it is interrupted; its result, or -errno. */
#define SYS_RETRY(call) ({						\
	long r_;							\
									\
	do {								\
		r_ = (long)(call);					\
	} while (r_ < 0 && errno == EINTR);				\
	r_ < 0 ? -(long)errno : r_;					\
})

#endif
