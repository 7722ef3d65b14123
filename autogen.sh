#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Make configure from configure.ac, and sources.mk, the lists of files that Makefile.am builds, from the directories
# themselves. Run it again when a file was added or removed; with nothing to do it does nothing.
#
# A unit test that replaces functions (ld's --wrap) names them in its source, in any number of lines of their own:
#     // wrap: ply_sys_openat ply_sys_renameat2

set -eu
cd "$(dirname "$0")"

list()
{
	printf '%s =' "$1"
	shift
	for f in "$@"; do
		[ -e "$f" ] && printf ' \\\n\t%s' "$f"
	done
	printf '\n\n'
}

programs()
{
	name=$1
	shift
	printf '%s =' "$name"
	for f in "$@"; do
		[ -e "$f" ] && printf ' \\\n\t%s' "${f%.c}"
	done
	printf '\n\n'
}

{
	echo '# Made by autogen.sh from what is in the directories.'
	echo
	LC_ALL=C
	export LC_ALL
	lib=
	for f in src/*.c src/*.h; do
		case $f in
		src/main.c|src/plyctl.c) ;;
		*) lib="$lib $f" ;;
		esac
	done
	# shellcheck disable=SC2086
	list PLY_LIB_SOURCES $lib
	list PLY_MAN man/*.[0-9]
	programs PLY_UNIT_TESTS tests/unit/test-*.c
	programs PLY_TEST_TOOLS tests/tools/*.c tests/race/*.c tests/bench/*.c
	# The model test is one program of several files.
	if ls tests/model/*.c >/dev/null 2>&1; then
		echo 'PLY_MODEL = tests/model/model'
		list tests_model_model_SOURCES tests/model/*.c tests/model/*.h
	else
		echo 'PLY_MODEL ='
		echo
	fi
	list PLY_BATS tests/*.bats tests/clients/*.bats
	# What only travels with a release.
	# shellcheck disable=SC2046
	list PLY_TEST_FILES $(find tests -type f ! -name '*.bats' ! -name '.*' ! -name 'crash-*' | sort)
	# shellcheck disable=SC2046
	list PLY_KERNEL $(find kernel -type f ! -name '.*' | sort)
	# shellcheck disable=SC2046
	list PLY_CONTRIB $(find contrib -type f ! -path 'contrib/completion/*' ! -name '.*' | sort)
	list PLY_BASH_COMPLETION contrib/completion/bash/*
	list PLY_ZSH_COMPLETION contrib/completion/zsh/*
	for f in tests/unit/test-*.c; do
		[ -e "$f" ] || continue
		var=$(printf '%s' "${f%.c}" | tr -c 'a-zA-Z0-9_' _)
		printf '%s_CFLAGS = $(PLY_UNIT_CFLAGS)\n%s_LDADD = $(PLY_UNIT_LIBS)\n' "$var" "$var"
		printf '%s_LDFLAGS = $(PLY_UNIT_LINK)' "$var"
		for sym in $(sed -n 's,^// wrap: *,,p' "$f"); do
			printf ' \\\n\t-Wl,--wrap=%s' "$sym"
		done
		printf '\n\n'
	done
} > sources.mk.new
if cmp -s sources.mk.new sources.mk; then
	rm sources.mk.new
else
	mv sources.mk.new sources.mk
fi

newer()
{
	[ ! -e "$1" ] || [ -n "$(find "$2" -newer "$1" 2>/dev/null)" ]
}
for f in configure.ac Makefile.am sources.mk src/local.mk tests/local.mk m4/ply-flags.m4; do
	if newer configure "$f" || newer Makefile.in "$f"; then
		exec autoreconf --install --force --warnings=all
	fi
done
