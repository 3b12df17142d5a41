# bash completion for roomd; made from the table in src/config/flags.rs by `make manual`
_roomd() {
    local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} words=
    # --flag=value comes as three words.
    if [[ $word == = ]]; then
        word=
    elif [[ $flag == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $flag in
        --log-level) words='off error warn info debug trace' ;;
        --listen | --admin-listen | --max-memory | --max-clients | --max-clients-per-ip | --room | --rooms | --max-rooms | --presence | --history | --history-age | --history-size | --state-dir | --history-disk | --history-sync | --engine | --engine-password-file | --engine-ca | --engine-cert | --engine-memory | --max-message | --max-queue | --rate | --ping-interval | --ping-timeout | --head-timeout | --allow-origin | --allow-host | --trust-proxy) ;;
        *) words='--listen --admin-listen --qr --max-memory --max-clients --max-clients-per-ip --room --rooms --max-rooms --presence --history --history-age --history-size --state-dir --history-disk --history-sync --engine --engine-password-file --engine-ca --engine-cert --engine-memory --max-message --max-queue --rate --ping-interval --ping-timeout --head-timeout --allow-origin --allow-host --trust-proxy --log-level --help --version' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _roomd roomd
