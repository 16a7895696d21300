# SPDX-License-Identifier: Apache-2.0
# shunt.bash - completion of shunt and shuntd for bash

_shunt() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local commands='status route models check version help'
	COMPREPLY=()

	case $prev in
	-c | --config)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-u | --url | -r | --route)
		return
		;;
	esac
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$cur")
		return
	fi
	case ${COMP_WORDS[1]} in
	status | models)
		mapfile -t COMPREPLY < <(compgen -W '--url --config --json --help' -- "$cur")
		;;
	route)
		mapfile -t COMPREPLY < <(compgen -W '--route --url --config --json --help' -- "$cur")
		;;
	check)
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		;;
	version)
		mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur")
		;;
	esac
}

_shuntd() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()

	if [[ $prev == -c || $prev == --config ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W '--config --check --help --version' -- "$cur")
	fi
}

complete -o filenames -F _shunt shunt
complete -o filenames -F _shuntd shuntd
