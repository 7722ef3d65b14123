# SPDX-License-Identifier: GPL-2.0-or-later
#
# All of src/ but the programs is one library, which the programs and the unit tests link.

noinst_LIBRARIES += libply.a
libply_a_SOURCES = $(PLY_LIB_SOURCES)
libply_a_CFLAGS = $(PLY_CFLAGS) $(PLY_SRC_CFLAGS) $(PLY_SANITIZE) $(FUSE_CFLAGS) $(CAP_CFLAGS) $(JANSSON_CFLAGS)

PLY_LIBS = libply.a $(FUSE_LIBS) $(CAP_LIBS) $(JANSSON_LIBS)

bin_PROGRAMS += plyfs plyctl
plyfs_SOURCES = src/main.c
plyfs_CFLAGS = $(libply_a_CFLAGS)
plyfs_LDFLAGS = $(PLY_DAEMON_LDFLAGS) $(PLY_SANITIZE)
plyfs_LDADD = libply.a $(PLY_DAEMON_LIBS)
plyctl_SOURCES = src/plyctl.c
plyctl_CFLAGS = $(libply_a_CFLAGS)
plyctl_LDFLAGS = $(AM_LDFLAGS) $(PLY_SANITIZE)
plyctl_LDADD = $(PLY_LIBS)

# A file includes only files below it in src/ORDER.
check-local: check-order
check-order:
	$(AM_V_GEN)$(SHELL) $(srcdir)/tools/check-order $(srcdir)/src
.PHONY: check-order
