# SPDX-License-Identifier: GPL-2.0-or-later
#
# kernel/: selftests run in `make check` on this kernel (tests/kernel-selftests.bats), in the laboratory here. Kernels are
# built once and kept in build/lab of the source tree, or PLY_LAB_DIR; they are never part of "all".

EXTRA_DIST += kernel/README.md kernel/patches kernel/selftests kernel/lab kernel/dkms

check-kernel check-kernel-short check-kernel-plyfs: all $(check_PROGRAMS)
	PLY_BUILDDIR='$(abs_top_builddir)' $(srcdir)/kernel/lab/check $@
.PHONY: check-kernel check-kernel-short check-kernel-plyfs
