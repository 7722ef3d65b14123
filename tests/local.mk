# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make check` runs the unit tests and the bats files of the suite "normal"; `make check-SUITE` those of another suite.
# All speak TAP to automake's driver. Which suites a bats file belongs to stands in its line "# suites:".

check_PROGRAMS += $(PLY_TEST_TOOLS) $(PLY_MODEL)
if HAVE_CMOCKA
check_PROGRAMS += $(PLY_UNIT_TESTS)
endif

# Each program is one source file of its name. Unit tests link the library; the tools know the union from outside only, and
# no sanitizer watches them: they are not what is tested.
AM_DEFAULT_SOURCE_EXT = .c
LDADD = -lpthread
PLY_UNIT_CFLAGS = $(AM_CFLAGS) $(PLY_SANITIZE) $(FUSE_CFLAGS) $(CAP_CFLAGS) $(JANSSON_CFLAGS) $(CMOCKA_CFLAGS)
PLY_UNIT_LINK = $(AM_LDFLAGS) $(PLY_SANITIZE)
PLY_UNIT_LIBS = $(PLY_LIBS) $(CMOCKA_LIBS) -lpthread

PLY_SUITE = normal
PLY_TARGET = plyfs

TEST_EXTENSIONS = .bats
TAP_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
LOG_DRIVER = $(TAP_DRIVER)
LOG_COMPILER = $(SHELL) $(srcdir)/tests/run-unit
BATS_LOG_DRIVER = $(TAP_DRIVER)
BATS_LOG_COMPILER = bash $(srcdir)/tests/run-bats

# Absolute: a test leaves the directory it starts in. The shell's ${VAR:-} keeps what the caller has set.
AM_TESTS_ENVIRONMENT = \
	PLY_SRCDIR='$(abs_top_srcdir)'; PLY_BUILDDIR='$(abs_top_builddir)'; \
	PLY_SUITE='$(PLY_SUITE)'; PLY_TARGET='$(PLY_TARGET)'; BATS='$(BATS)'; \
	export PLY_SRCDIR PLY_BUILDDIR PLY_SUITE PLY_TARGET BATS;

TESTS =
if HAVE_CMOCKA
TESTS += $(PLY_UNIT_TESTS)
endif
# `make distcheck PLY_CHECK_BATS=` does without the long ones.
PLY_CHECK_BATS = $(PLY_BATS)
if HAVE_BATS
TESTS += $(PLY_CHECK_BATS)
endif

EXTRA_DIST += $(PLY_BATS) $(PLY_TEST_FILES)

# The bats files of a suite by their header; unit tests know no suites but the sanitizers'. With PLY_STEP=recheck-suite
# only those that failed are run again.
PLY_STEP = check-suite
check-overlayfs: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=overlayfs PLY_TARGET=overlayfs
check-userns: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=userns
check-plainuser: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=plainuser
check-nopassthrough: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=nopassthrough
check-threads1: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=threads1
# The kernel's switch belongs to the whole machine: as it was before, afterwards. Nobody else's mount asks for io_uring.
PLY_URING_SWITCH = /sys/module/fuse/parameters/enable_uring
check-io_uring:
	@was=`cat $(PLY_URING_SWITCH) 2>/dev/null`; test "$$was" = N && echo Y > $(PLY_URING_SWITCH); rc=0; \
	$(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=io_uring || rc=$$?; \
	test "$$was" = N && echo N > $(PLY_URING_SWITCH); exit $$rc
check-clients: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=clients
check-normal: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=normal PLY_SUITE_UNITS='$(PLY_UNIT_TESTS)'
check-asan: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=asan PLY_SUITE_UNITS='$(PLY_UNIT_TESTS)'
check-tsan: ; $(MAKE) $(AM_MAKEFLAGS) $(PLY_STEP) PLY_SUITE=tsan PLY_SUITE_UNITS='$(PLY_UNIT_TESTS)'
.PHONY: check-overlayfs check-userns check-plainuser check-nopassthrough check-threads1 check-io_uring check-normal check-asan check-tsan check-clients

PLY_SUITE_UNITS =
check-suite: all $(check_PROGRAMS)
	@find tests -name '*.trs' -exec rm -f {} +
	$(MAKE) $(AM_MAKEFLAGS) check-TESTS TESTS="$(PLY_SUITE_UNITS) `cd $(srcdir) && bash tests/run-bats --list $(PLY_SUITE) | tr '\n' ' '`"
recheck-suite:
	$(MAKE) $(AM_MAKEFLAGS) recheck TESTS="$(PLY_SUITE_UNITS) `cd $(srcdir) && bash tests/run-bats --list $(PLY_SUITE) | tr '\n' ' '`"
.PHONY: check-suite recheck-suite

# The benchmark, README "Benchmark"; as root. BENCH_FLAGS: more of its options.
BENCH_FLAGS =
bench: all tests/bench/loops$(EXEEXT) tests/bench/floor$(EXEEXT)
	$(srcdir)/tests/bench/run --build . --curves --json bench.json $(BENCH_FLAGS)
bench-quick: all tests/bench/loops$(EXEEXT)
	$(srcdir)/tests/bench/run --build . --quick --json bench-quick.json $(BENCH_FLAGS)
.PHONY: bench bench-quick
CLEANFILES += bench.json bench-quick.json
