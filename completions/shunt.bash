# SPDX-License-Identifier: Apache-2.0
# shunt.bash - completion of shunt and shuntd for bash

# A command of the laboratory: its options, else data files.
_shunt_lab() {
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "--data $1 --json --help" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

_shunt() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local commands='status route models check journal eval train calibrate tokenize encode bench chaos fault version help'
	local scorers='linear ensemble encoder knn elo cluster mlp mf irt heuristic cascade random weak strong chars id oracle'
	COMPREPLY=()

	case $prev in
	--pool)
		mapfile -t COMPREPLY < <(compgen -W 'mean cls' -- "$cur")
		return
		;;
	--dtype)
		mapfile -t COMPREPLY < <(compgen -W 'f32 bf16 i8' -- "$cur")
		return
		;;
	--isa)
		mapfile -t COMPREPLY < <(compgen -W 'auto blas avx2 avx512 amx' -- "$cur")
		return
		;;
	--tokenizer | --model | --encoder)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-c | --config | --data | --train-data | --prices | --plot | --out | --image | --trace | --replay | --html)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--last | --request | -u | --url | -r | --route | --only | --weak | --strong | --strong-pct | --quality | --folds | --seed | --threads | --resamples | --minutes)
		return
		;;
	--scorer | --against)
		mapfile -t COMPREPLY < <(compgen -W "$scorers" -- "$cur")
		return
		;;
	--cost-source)
		mapfile -t COMPREPLY < <(compgen -W 'costs prices out_chars none' -- "$cur")
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
		mapfile -t COMPREPLY < <(compgen -W '--route --explain --url --config --json --help' -- "$cur")
		;;
	check)
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W '--json --help' -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi
		;;
	journal)
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W '--last --request --verify --config --json --help' -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		fi
		;;
	eval)
		_shunt_lab '--train-data --only --scorer --against --weak --strong --many --among --folds --cost-source --prices --plot --seed --resamples --threads --encoder --dtype'
		;;
	train)
		_shunt_lab '--only --scorer --out --seed --folds --threads --encoder --dtype'
		;;
	calibrate)
		_shunt_lab '--only --scorer --weak --strong --strong-pct --quality'
		;;
	chaos)
		case ${COMP_WORDS[2]}:$COMP_CWORD in
		*:2)
			mapfile -t COMPREPLY < <(compgen -W 'run random invariants --help' -- "$cur")
			;;
		random:*)
			mapfile -t COMPREPLY < <(compgen -W '--seed --minutes --out --json --help' -- "$cur")
			;;
		run:*)
			if [[ $cur == -* ]]; then
				mapfile -t COMPREPLY < <(compgen -W '--seed --trace --replay --html --url --json --help' -- "$cur")
			else
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			fi
			;;
		esac
		;;
	fault)
		local kinds=''
		if [[ ${COMP_WORDS[2]} == add ]]; then
			kinds=$(shunt fault kinds 2>/dev/null | awk 'NF == 0 {exit} {print $1}')
		elif ((COMP_CWORD == 2)); then
			kinds='add list clear kinds'
		fi
		mapfile -t COMPREPLY < <(compgen -W "$kinds --url --config --json --help" -- "$cur")
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		;;
	tokenize)
		mapfile -t COMPREPLY < <(compgen -W '--tokenizer --jsonl --help' -- "$cur")
		;;
	encode)
		mapfile -t COMPREPLY < <(compgen -W '--model --pool --dtype --jsonl --help' -- "$cur")
		;;
	bench)
		mapfile -t COMPREPLY < <(compgen -W 'classifier --model --dtype --isa --threads --image --json --help' -- "$cur")
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
