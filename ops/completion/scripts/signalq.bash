# Completion of signalq for bash. To have it in every shell, ~/.bashrc has:  eval "$(signalq completion bash)"

_signalq() {
    local line kind=
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then kind=$line; else COMPREPLY+=("$line"); fi
    done < <(_SIGNALQ_COMPLETE=bash command "$1" "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" "$COMP_TYPE" 2>/dev/null)
    case $kind in
        files) compopt -o default 2>/dev/null ;;
        folders) compopt -o dirnames 2>/dev/null ;;
    esac
    return 0
}

complete -o nosort -F _signalq signalq 2>/dev/null || complete -F _signalq signalq
