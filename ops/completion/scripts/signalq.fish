# Completion of signalq for fish:  signalq completion fish > ~/.config/fish/completions/signalq.fish

function __signalq_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (_SIGNALQ_COMPLETE=fish command $words[1] $words "$current" 2>/dev/null)
    switch "$lines[1]"
        case files folders
            # Of --name=value only the value is a path.
            set -l before (string match --regex -- '^--[^=]*=' "$current")
            set -l path (string replace -- "$before" '' "$current")
            if test $lines[1] = files
                __fish_complete_path "$path" | string replace --regex -- '^' "$before"
            else
                __fish_complete_directories "$path" | string replace --regex -- '^' "$before"
            end
        case values
            printf '%s\n' $lines[2..-1]
    end
end

complete --command signalq --no-files --keep-order --arguments '(__signalq_complete)'
