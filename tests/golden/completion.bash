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
        --ca-file|--settings-file|--tls-cert-file|--tls-key-file|--log-file|--backup-passphrase-file|--password-file|--new-password-file|--file|--api-token-file|--join-file|--token-file|--update-state|--output|--out|--key-file|--release-key|--artifact|--request-file|--status-file|--config) mapfile -t COMPREPLY < <(compgen -f -- "$current"); compopt -o filenames 2>/dev/null; return ;;
        --identity-dir|--data-dir|--cluster-pki-dir|--backup-dir|--update-dir|--state-dir) mapfile -t COMPREPLY < <(compgen -d -- "$current"); compopt -o filenames 2>/dev/null; return ;;
        --node-id|--api-url|--context|--app-name|--app-env|--database-url|--server-host|--server-port|--tls|--advertise-addresses|--tls-names|--trusted-proxies|--base-path|--log-level|--log-db-queries|--log-db-query-params|--log-sql-max-length|--auth-cookie-secure|--auth-session-ttl-seconds|--auth-session-idle-seconds|--node-cert-validity-days|--cluster-lease-token-ttl-seconds|--heartbeat-signature-max-skew-seconds|--clock-wait-seconds|--backup-before-upgrade|--http-connections-max|--http-connections-per-address-max|--http-idle-seconds|--http-requests-per-second-max|--username|--setup-code|--fingerprint|--core-ttl|--worker-ttl|--password|--role|--ttl|--for-node|--mesh-ip|--timeout|--token|--name|--api-endpoint|--lease-ttl|--label|--lease-token|--status-json|--lease-state|--reserve-cpu|--reserve-memory|--cpu|--memory|--to|--service|--node|--snapshot|--max-moves|--category|--level|--since|--limit|--new-password|--days|--expires-days|--as|--channel|--bytes-max|--rings|--ring-label|--wait-seconds|--lost-max|--version-url|--want-version|--bin|--restart-command|--health-url|--health-wait|--settle|--ring|--ring-wait|--tries) return ;;
    esac
    for ((at = 1; at < COMP_CWORD; at++)); do
        word="${COMP_WORDS[at]}"
        case "$word" in
            --node-id|--identity-dir|--api-url|--ca-file|--context|--settings-file|--app-name|--app-env|--data-dir|--database-url|--server-host|--server-port|--tls|--advertise-addresses|--tls-names|--tls-cert-file|--tls-key-file|--trusted-proxies|--base-path|--log-level|--log-file|--log-db-queries|--log-db-query-params|--log-sql-max-length|--auth-cookie-secure|--auth-session-ttl-seconds|--auth-session-idle-seconds|--cluster-pki-dir|--node-cert-validity-days|--cluster-lease-token-ttl-seconds|--heartbeat-signature-max-skew-seconds|--clock-wait-seconds|--backup-dir|--backup-passphrase-file|--backup-before-upgrade|--http-connections-max|--http-connections-per-address-max|--http-idle-seconds|--http-requests-per-second-max|--username|--password-file|--setup-code|--new-password-file|--fingerprint|--file|--core-ttl|--worker-ttl|--password|--api-token-file|--role|--ttl|--for-node|--mesh-ip|--timeout|--join-file|--token-file|--token|--name|--api-endpoint|--lease-ttl|--label|--update-dir|--update-state|--lease-token|--status-json|--lease-state|--reserve-cpu|--reserve-memory|--cpu|--memory|--to|--service|--node|--snapshot|--max-moves|--output|--category|--level|--since|--limit|--new-password|--days|--out|--key-file|--expires-days|--release-key|--artifact|--as|--channel|--bytes-max|--rings|--ring-label|--wait-seconds|--lost-max|--request-file|--version-url|--want-version|--bin|--restart-command|--health-url|--status-file|--health-wait|--settle|--ring|--ring-wait|--config|--tries|--state-dir) [[ ${COMP_WORDS[at + 1]} == "=" ]] && ((at++)); ((at++)) ;;
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
        words="up serve migrate login logout context config doctor bootstrap create-token join-tokens delete-token ca join agent heartbeat nodes-status nodes node services service replicas replica endpoints routers plan reconcile explain rebalance snapshots support-bundle events settings setting set-password users user whoami admin sessions session api-tokens api-token backup release man completions unit fleet-update update version help"
    fi
    case "$first" in
        context) seconds="list use show remove" ;;
        config) seconds="get check show" ;;
        ca) seconds="show nodes rotate drop-previous" ;;
        node) seconds="show cordon uncordon drain room reboot rotate-keys runs keep-run delete" ;;
        service) seconds="apply show history rollout rollback delete" ;;
        replica) seconds="show move restart snapshot restore delete" ;;
        support-bundle) seconds="create list download" ;;
        setting) seconds="set" ;;
        user) seconds="add role delete set-password" ;;
        admin) seconds="reset-password" ;;
        session) seconds="revoke" ;;
        api-token) seconds="create delete" ;;
        backup) seconds="create list verify restore undo-upgrade" ;;
        release) seconds="keygen sign verify fetch" ;;
        fleet-update) seconds="start list show pause resume cancel" ;;
        update) seconds="status" ;;
    esac
    if [[ -n $seconds && -z $second ]]; then
        words="$seconds"
    fi
    word="$first"
    [[ -n $seconds ]] && word="$first $second"
    case "$word" in
        "up") options="--node-id --identity-dir --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "serve") options="--api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "migrate") options="--api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "login") options="--username --password-file --setup-code --new-password-file --fingerprint --api-url --ca-file --context --settings-file --help"; words="" ;;
        "logout") options="--forget --api-url --ca-file --context --settings-file --help"; words="" ;;
        "context list") options="--json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "context use") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "context show") options="--json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "context remove") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "config get") options="--file --api-url --ca-file --context --settings-file --help"; words="" ;;
        "config check") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "config show") options="--api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "doctor") options="--json --node-id --identity-dir --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "bootstrap") options="--core-ttl --worker-ttl --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "create-token") options="--role --ttl --join-string --for-node --mesh-ip --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "join-tokens") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "delete-token") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca show") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca nodes") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca rotate") options="--wait --timeout --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "ca drop-previous") options="--force --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "join") options="--join-file --token-file --token --role --name --mesh-ip --api-endpoint --lease-ttl --label --node-id --identity-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "agent") options="--ttl --update-dir --update-state --log-level --log-file --node-id --identity-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "heartbeat") options="--lease-token --ttl --status-json --node-id --identity-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "nodes-status") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "nodes") options="--role --lease-state --label --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node show") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node cordon") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node uncordon") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node drain") options="--no-wait --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node room") options="--reserve-cpu --reserve-memory --cpu --memory --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node reboot") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node rotate-keys") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node runs") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node keep-run") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "node delete") options="--force --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "services") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service apply") options="--file --wait --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service show") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service history") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service rollout") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service rollback") options="--to --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "service delete") options="--force --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replicas") options="--service --node --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica show") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica move") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica restart") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica snapshot") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica restore") options="--snapshot --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "replica delete") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "endpoints") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "routers") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "plan") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "reconcile") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "explain") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "rebalance") options="--apply --max-moves --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "snapshots") options="--request --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "support-bundle create") options="--wait --timeout --output --with-values --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "support-bundle list") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "support-bundle download") options="--output --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "events") options="--category --name --level --node --since --limit --follow --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "settings") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "setting set") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "set-password") options="--new-password-file --new-password --setup-code --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "users") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user add") options="--role --new-password-file --new-password --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user role") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user delete") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "user set-password") options="--new-password-file --new-password --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "whoami") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "admin reset-password") options="--username --new-password-file --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "sessions") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "session revoke") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "api-tokens") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "api-token create") options="--role --days --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "api-token delete") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "backup create") options="--no-encryption --json --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup list") options="--json --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup verify") options="--json --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup restore") options="--replace --json --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "backup undo-upgrade") options="--since --json --api-url --ca-file --context --settings-file --help --app-name --app-env --data-dir --database-url --server-host --server-port --tls --advertise-addresses --tls-names --tls-cert-file --tls-key-file --trusted-proxies --base-path --log-level --log-file --log-db-queries --log-db-query-params --log-sql-max-length --auth-cookie-secure --auth-session-ttl-seconds --auth-session-idle-seconds --cluster-pki-dir --node-cert-validity-days --cluster-lease-token-ttl-seconds --heartbeat-signature-max-skew-seconds --clock-wait-seconds --backup-dir --backup-passphrase-file --backup-before-upgrade --http-connections-max --http-connections-per-address-max --http-idle-seconds --http-requests-per-second-max"; words="" ;;
        "release keygen") options="--out --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release sign") options="--key-file --expires-days --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release verify") options="--release-key --artifact --as --channel --allow-expired --api-url --ca-file --context --settings-file --help"; words="" ;;
        "release fetch") options="--out --bytes-max --api-url --ca-file --context --settings-file --help"; words="" ;;
        "man") options="--api-url --ca-file --context --settings-file --help"; words="" ;;
        "completions") options="--api-url --ca-file --context --settings-file --help"; words="bash zsh fish" ;;
        "unit") options="--api-url --ca-file --context --settings-file --help"; words="uptimemesh.service uptimemesh-agent.service uptimemesh-recover.service uptimemesh-update.path uptimemesh-update.service uptimemesh uptimemesh-agent uptimemesh-update uptimemesh.env uptimemesh.logrotate" ;;
        "fleet-update start") options="--rings --channel --ring-label --wait-seconds --lost-max --username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "fleet-update list") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "fleet-update show") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "fleet-update pause") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "fleet-update resume") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "fleet-update cancel") options="--username --password-file --password --api-token-file --data-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update") options="--check --recover --requested --request-file --version-url --channel --want-version --bin --service --restart-command --health-url --data-dir --status-file --health-wait --settle --release-key --allow-downgrade --allow-expired --retry --ring --ring-wait --ring-label --api-token-file --config --tries --json --state-dir --api-url --ca-file --context --settings-file --help"; words="" ;;
        "update status") options="--state-dir --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "version") options="--verbose --json --api-url --ca-file --context --settings-file --help"; words="" ;;
        "help") options="--api-url --ca-file --context --settings-file --help"; words="up serve migrate login logout context config doctor bootstrap create-token join-tokens delete-token ca join agent heartbeat nodes-status nodes node services service replicas replica endpoints routers plan reconcile explain rebalance snapshots support-bundle events settings setting set-password users user whoami admin sessions session api-tokens api-token backup release man completions unit fleet-update update version help" ;;
    esac
    [[ $current == -* ]] && words="$options"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _uptimemesh uptimemesh
