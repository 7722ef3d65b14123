#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# suites: normal
#
# What is written about the options is what the program reads: the man page has every word of the table in optset.c, and the
# completions have those that somebody types.

setup() {
	cd "$PLY_SRCDIR"
}

# The names in the table, one a line.
options() {
	sed -n '/^static const struct option_def options\[\]/,/^};/p' src/optset.c |
		grep -oE '(VALUE|STRING|WORD|BOOL|FLAG|MOUNT|IGNORED)\("[^"]*"|\.name = "[^"]*"' |
		sed 's/.*"\(.*\)"/\1/'
}

# The man page as text without hyphenation, in one long line.
page() {
	sed -e 's/^\.[A-Z]* *//' -e 's/\\f[A-Z]//g' -e 's/\\-/-/g' -e 's/\\:\{0,1\}//g' -e 's/"//g' "man/$1" | tr '\n' ' '
}

@test "plyfs(8) names every option" {
	local text name missing=
	text=$(page plyfs.8)
	[ "$(options | wc -l)" -gt 90 ]
	while read -r name; do
		grep -qE "(^|[^a-z_])$(printf '%s' "$name" | sed 's/+/\\+/')([^a-z_]|$)" <<< "$text" || missing+=" $name"
	done < <(options)
	[ -z "$missing" ] || { echo "plyfs(8) lacks:$missing"; return 1; }
}

@test "completions offer no word that the program does not know, and none is missing that --help shows" {
	local name text bash zsh
	text=$(sed -n '/^const char ply_options_help/,/;$/p' src/options.c)
	bash=$(sed -n "/^_plyfs_options=/,/'\$/p" contrib/completion/bash/plyfs | tr -d "'" | sed 's/^_plyfs_options=//' | tr -s '[:space:]' '\n' | sed 's/=$//' | sort)
	zsh=$(sed -n '/^_plyfs_list/,/^}/p' contrib/completion/zsh/_plyfs | grep -oE "'\*?[a-z_]+\+?['\[]" | tr -d "'*[" | sort)
	[ "$bash" = "$zsh" ] || { diff <(echo "$bash") <(echo "$zsh"); return 1; }
	while read -r name; do
		options | grep -qxF -- "$name" || { echo "completion offers $name"; return 1; }
	done <<< "$bash"
	while read -r name; do
		grep -qE "[^a-z_]${name/+/\\+}([^a-z_]|$)" <<< "$text" || continue
		grep -qxF -- "$name" <<< "$bash" || [[ $name == @(default_permissions|default|user|group|owner|auto|atime|sync|comment|async) ]] || { echo "completion lacks $name"; return 1; }
	done < <(options)
}

@test "bash completion completes lists, values and paths" {
	local line want
	# shellcheck source=/dev/null
	. contrib/completion/bash/plyfs
	while IFS='|' read -r line want; do
		COMP_LINE=$line COMP_POINT=${#line} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
		COMPREPLY=()
		_plyfs
		[ "${COMPREPLY[*]}" = "$want" ] || { echo "'$line' gives '${COMPREPLY[*]}'"; return 1; }
	done <<- 'END'
		plyfs -o low|lowerdir= lowerdir+=
		plyfs -o ro,passthr|ro,passthrough=
		plyfs -o ro,passthrough=f|full
		plyfs -o lowerdir=/et|/etc/
		plyfs -o lowerdir=/etc:/et|/etc/
		plyfs -o upperdir=/a,fsync=v|volatile
		plyfs --vers|--version
	END
}

@test "the man pages format without a warning that is not about line breaks" {
	command -v man > /dev/null && command -v groff > /dev/null || skip "no man"
	local p
	for p in man/*.[0-9]; do
		man --warnings=w -l "$p" 2>&1 > /dev/null | grep -vE "adjust|break|table wider|around line|^ *$" && { echo "$p"; return 1; }
	done
	return 0
}
