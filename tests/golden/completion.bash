# bash completion of uptimemesh, made by `uptimemesh completions bash`.
_uptimemesh() {
    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}"
    local first="" second="" seconds="" options="--api-url --ca-file --context --settings-file --help" words="" at word
    # bash breaks --option=value into three words.
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $before == "=" ]]; then
        before="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    COMPREPLY=()
    case "$before" in
        --password-file|--api-token-file|--ca-file|--settings-file|-f|--file|--new-password-file|--tls-cert-file|--tls-key-file|--log-file|--backup-passphrase-file|--output|--request-file|--status-file|--release-key|--config|--out|--key-file|--artifact|--socket|--policy|--authority|--join-file|--token-file|--update-state|--runner-policy) mapfile -t COMPREPLY < <(compgen -f -- "$current"); compopt -o filenames 2>/dev/null; return ;;
        --data-dir|--cluster-pki-dir|--backup-dir|--state-dir|--dir|--runs-dir|--identity-dir|--update-dir) mapfile -t COMPREPLY < <(compgen -d -- "$current"); compopt -o filenames 2>/dev/null; return ;;
        --role|--lease-state|--label|--username|--password|-o|--format|--color|--api-url|--context|--name|--mesh-ip|--set|--remove|--timeout|--reserve-cpu|--reserve-memory|--cpu|--memory|--ttl|--for-node|--core-ttl|--worker-ttl|--to|--service|--node|--snapshot|--since|--tail|--replica|--address|--port|--primary|--secondary|--max-moves|--setup-code|--fingerprint|--new-password|--app-name|--app-env|--database-url|--server-host|--server-port|--tls|--advertise-addresses|--tls-names|--trusted-proxies|--base-path|--log-level|--log-db-queries|--log-db-query-params|--log-sql-max-length|--auth-cookie-secure|--auth-session-ttl-seconds|--auth-session-idle-seconds|--node-cert-validity-days|--cluster-lease-token-ttl-seconds|--heartbeat-signature-max-skew-seconds|--clock-wait-seconds|--backup-before-upgrade|--http-connections-max|--http-connections-per-address-max|--http-idle-seconds|--http-requests-per-second-max|--days|--category|--level|--limit|--version-url|--channel|--want-version|--bin|--restart-command|--health-url|--health-wait|--settle|--ring|--ring-wait|--ring-label|--tries|--rings|--wait-seconds|--lost-max|--expires-days|--as|--bytes-max|--agent-user|--at-most|--node-id|--token|--api-endpoint|--lease-ttl|--runner|--lease-token|--status-json) return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        word="${COMP_WORDS[at]}"
        case "$word" in
            --role|--lease-state|--label|--username|--password-file|--password|--api-token-file|--data-dir|-o|--format|--color|--api-url|--ca-file|--context|--settings-file|--name|--mesh-ip|--set|--remove|--timeout|--reserve-cpu|--reserve-memory|--cpu|--memory|--ttl|--for-node|--core-ttl|--worker-ttl|-f|--file|--to|--service|--node|--snapshot|--since|--tail|--replica|--address|--port|--primary|--secondary|--max-moves|--setup-code|--new-password-file|--fingerprint|--new-password|--app-name|--app-env|--database-url|--server-host|--server-port|--tls|--advertise-addresses|--tls-names|--tls-cert-file|--tls-key-file|--trusted-proxies|--base-path|--log-level|--log-file|--log-db-queries|--log-db-query-params|--log-sql-max-length|--auth-cookie-secure|--auth-session-ttl-seconds|--auth-session-idle-seconds|--cluster-pki-dir|--node-cert-validity-days|--cluster-lease-token-ttl-seconds|--heartbeat-signature-max-skew-seconds|--clock-wait-seconds|--backup-dir|--backup-passphrase-file|--backup-before-upgrade|--http-connections-max|--http-connections-per-address-max|--http-idle-seconds|--http-requests-per-second-max|--days|--category|--level|--limit|--output|--request-file|--version-url|--channel|--want-version|--bin|--restart-command|--health-url|--status-file|--health-wait|--settle|--release-key|--ring|--ring-wait|--ring-label|--config|--tries|--state-dir|--rings|--wait-seconds|--lost-max|--out|--key-file|--expires-days|--artifact|--as|--bytes-max|--dir|--socket|--runs-dir|--policy|--agent-user|--at-most|--node-id|--authority|--identity-dir|--join-file|--token-file|--token|--api-endpoint|--lease-ttl|--update-dir|--update-state|--runner|--runner-policy|--lease-token|--status-json) [[ ${COMP_WORDS[at + 1]} == "=" ]] && ((at++)); ((at++)) ;;
            -*) ;;
            *)
                if [[ -z $first ]]; then
                    first="$word"
                elif [[ -z $second ]]; then
                    second="$word"
                fi
                ;;
        esac
    done
    if [[ -z $first ]]; then
        words="node token bootstrap ca service replica logs endpoint router scheduler snapshot login logout context user set-password whoami session api-token status event setting bundle backup update config release runner up serve migrate join agent heartbeat doctor man completions unit version docs help"
    fi
    case "$first" in
        node) seconds="list show create label cordon uncordon drain room reboot rotate-keys runs work keep-run delete leases tunnels" ;;
        token) seconds="create list show revoke" ;;
        ca) seconds="show nodes rotate drop-previous" ;;
        service) seconds="list apply show history rollout run rollback delete" ;;
        replica) seconds="list show move restart snapshot restore delete" ;;
        endpoint) seconds="list show create mark delete" ;;
        router) seconds="list show create delete" ;;
        scheduler) seconds="status plan reconcile explain rebalance" ;;
        snapshot) seconds="list show request delete" ;;
        context) seconds="list use show remove" ;;
        user) seconds="list show create role set-password reset-password delete" ;;
        session) seconds="list revoke" ;;
        api-token) seconds="list create revoke" ;;
        event) seconds="list" ;;
        setting) seconds="list show set" ;;
        bundle) seconds="create list show download delete" ;;
        backup) seconds="create list verify restore undo-upgrade" ;;
        update) seconds="status start list show pause resume cancel" ;;
        config) seconds="show check get" ;;
        release) seconds="keygen sign verify fetch" ;;
        runner) seconds="stop-all trust" ;;
    esac
    word="$first"
    [[ -n $seconds && -n $second ]] && word="$first $second"
    case "$word" in
        "node list") options="--role --lease-state --label --watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node create") options="--name --role --label --mesh-ip --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node label") options="--set --remove --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node cordon") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node uncordon") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node drain") options="--no-wait --timeout --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node room") options="--reserve-cpu --reserve-memory --cpu --memory --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node reboot") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node rotate-keys") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node runs") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node work") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node keep-run") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node delete") options="--force --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node leases") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node tunnels") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "token create") options="--role --ttl --join-string --for-node --mesh-ip --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "token list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "token show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "token revoke") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "bootstrap") options="--core-ttl --worker-ttl --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca nodes") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca rotate") options="--wait --timeout --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca drop-previous") options="--force --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service apply") options="--file --wait --timeout --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service history") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service rollout") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service run") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service rollback") options="--to --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service delete") options="--force --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica list") options="--service --node --watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica move") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica restart") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica snapshot") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica restore") options="--snapshot --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica delete") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "logs") options="--follow --since --tail --node --timestamps --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "endpoint list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "endpoint show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "endpoint create") options="--replica --address --port --unhealthy --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "endpoint mark") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "endpoint delete") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "router list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "router show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "router create") options="--node --primary --secondary --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "router delete") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "scheduler status") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "scheduler plan") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "scheduler reconcile") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "scheduler explain") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "scheduler rebalance") options="--apply --max-moves --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "snapshot list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "snapshot show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "snapshot request") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "snapshot delete") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "login") options="--username --password-file --setup-code --new-password-file --fingerprint --api-url --ca-file --context --settings-file --help"; words="" ;;
        "logout") options="--forget --api-url --ca-file --context --settings-file --help"; words="" ;;
        "context list") options="--format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "context use") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "context show") options="--format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "context remove") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "user list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user create") options="--role --new-password-file --new-password --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user role") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user set-password") options="--new-password-file --new-password --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user reset-password") options="--username --new-password-file --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "user delete") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "set-password") options="--new-password-file --new-password --setup-code --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "whoami") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "session list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "session revoke") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "api-token list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "api-token create") options="--role --days --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "api-token revoke") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "status") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "event list") options="--category --name --level --node --since --limit --follow --watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "setting list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "setting show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "setting set") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "bundle create") options="--wait --timeout --output --with-values --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "bundle list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "bundle show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "bundle download") options="--output --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "bundle delete") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "backup create") options="--no-encryption --format --json --quiet --color --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup list") options="--format --json --quiet --color --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup verify") options="--format --json --quiet --color --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup restore") options="--replace --format --json --quiet --color --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup undo-upgrade") options="--since --format --json --quiet --color --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "update") options="--check --recover --requested --request-file --version-url --channel --want-version --bin --service --restart-command --health-url --data-dir --status-file --health-wait --settle --release-key --allow-downgrade --allow-expired --retry --ring --ring-wait --ring-label --api-token-file --config --tries --json --state-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update status") options="--state-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update start") options="--rings --channel --ring-label --wait-seconds --lost-max --wait --timeout --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update list") options="--watch --username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update show") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update pause") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update resume") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update cancel") options="--username --password-file --password --api-token-file --data-dir --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "config show") options="--api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "config check") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "config get") options="--file --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release keygen") options="--out --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release sign") options="--key-file --expires-days --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release verify") options="--release-key --artifact --as --channel --allow-expired --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release fetch") options="--out --bytes-max --api-url --ca-file --context --settings-file --help"; words="" ;;
        "runner") options="--dir --socket --runs-dir --policy --agent-user --log-level --log-file --api-url --ca-file --context --settings-file --help"; words="" ;;
        "runner stop-all") options="--dir --socket --runs-dir --policy --at-most --api-url --ca-file --context --settings-file --help"; words="" ;;
        "runner trust") options="--dir --socket --runs-dir --policy --node-id --authority --fingerprint --api-url --ca-file --context --settings-file --help"; words="" ;;
        "up") options="--node-id --identity-dir --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "serve") options="--api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "migrate") options="--api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "join") options="--join-file --run --install --token-file --token --role --name --mesh-ip --api-endpoint --lease-ttl --label --node-id --identity-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "agent") options="--ttl --update-dir --update-state --runner --runner-policy --log-level --log-file --node-id --identity-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "heartbeat") options="--lease-token --ttl --status-json --node-id --identity-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "doctor") options="--format --json --quiet --color --node-id --identity-dir --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "man") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "completions") options="--api-url --ca-file --context --settings-file --help"; words="bash zsh fish" ;;
        "unit") options="--api-url --ca-file --context --settings-file --help"; words="uptimemesh.service uptimemesh-agent.service uptimemesh-runner.service uptimemesh-work.service uptimemesh-recover.service uptimemesh-update.path uptimemesh-update.service uptimemesh uptimemesh-agent uptimemesh-runner uptimemesh-work uptimemesh-update runner.conf uptimemesh.env uptimemesh.logrotate" ;;
        "version") options="--verbose --format --json --quiet --color --api-url --ca-file --context --settings-file --help"; words="" ;;
        "docs") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "help") options="--api-url --ca-file --context --settings-file --help"; words="node token bootstrap ca service replica logs endpoint router scheduler snapshot login logout context user set-password whoami session api-token status event setting bundle backup update config release runner up serve migrate join agent heartbeat doctor man completions unit version docs help" ;;
    esac
    [[ -n $seconds && -z $second ]] && words="$seconds"
    [[ $current == -* ]] && words="$options"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _uptimemesh uptimemesh
