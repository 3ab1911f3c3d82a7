#compdef signalq
# Completion of signalq for zsh. To have it in every shell, ~/.zshrc has, behind compinit:
#   eval "$(signalq completion zsh)"

_signalq() {
    local command=${(Q)words[1]}
    local -a lines
    command=${~command}
    lines=("${(@f)$(_SIGNALQ_COMPLETE=zsh command $command "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    # Of --name=value only the value is completed.
    [[ $PREFIX == --*=* ]] && compset -P '*='
    case ${lines[1]} in
        files) _files ;;
        folders) _files -/ ;;
        values)
            shift lines
            (( $#lines )) && _describe -V signalq lines -M 'm:{[:lower:][:upper:]}={[:upper:][:lower:]}'
            ;;
    esac
}

if [[ ${funcstack[1]} == _signalq ]]; then
    _signalq "$@"
else
    compdef _signalq signalq
fi
