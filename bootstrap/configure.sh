#!/usr/bin/env bash
# Registers the plugin on an existing Vault, mounts it, writes the policies and, if
# asked to, a connection and a role. It needs the vault CLI and nothing else. Run it
# again at any time: what is so already stays, a newer plugin upgrades the mount.
#
#   bootstrap/configure.sh --plugin /etc/vault/plugins/vault-plugin-secrets-llm_v0.1.0 \
#       --provider openai --admin-key-file admin-key \
#       --role support/classifier --role-field project_id=proj_abc
#
# Each option is read from the environment, too; those with more than one value are
# then separated by white space.
#
#   VAULT_ADDR, VAULT_TOKEN         the Vault, and a token that may do all this
#   VAULT_BINARY                    the CLI; default the vault in PATH
#   --plugin FILE                   PLUGIN_FILE      the binary in plugin_directory, as seen from here
#   --sha256 SUM --version VERSION  PLUGIN_SHA256, PLUGIN_VERSION
#                                   instead, if it cannot be seen from here; needs --command
#   --command NAME                  PLUGIN_COMMAND   its name in plugin_directory; default that of FILE
#   --name NAME                     PLUGIN_NAME      default vault-plugin-secrets-llm
#   --pin                           PIN=1            pin the version, for all mounts of the plugin
#   --downgrade                     DOWNGRADE=1      even if the mount runs a newer one
#   --mount PATH                    MOUNT            default llm
#   --policy-prefix TEXT            POLICY_PREFIX    begins the names of policies; default the mount and "-"
#   --no-policies                   POLICIES=0       write none
#   --team NAME                     TEAM             the policy of its operators, too
#   --provider NAME                 PROVIDER         write a connection to it
#   --connection NAME               CONNECTION       its name; default that of the provider
#   --admin-key-file FILE           ADMIN_KEY_FILE   its admin key; - is standard input. Not needed
#                                   where it has one, or the engine makes it
#   --config-field NAME=VALUE       CONFIG_FIELDS    more of its fields
#   --role NAME                     ROLE             write a role, and the policy of its agent
#   --role-field NAME=VALUE         ROLE_FIELDS      its fields, but for config_name
#
# The admin key is read from its file and given to vault on standard input: no command
# line and no output holds it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
plugin=${PLUGIN_FILE:-} sha256=${PLUGIN_SHA256:-} version=${PLUGIN_VERSION:-} command=${PLUGIN_COMMAND:-}
name=${PLUGIN_NAME:-vault-plugin-secrets-llm} pin=${PIN:-} downgrade=${DOWNGRADE:-} mount=${MOUNT:-llm}
prefix=${POLICY_PREFIX:-} policies=${POLICIES:-1} team=${TEAM:-}
provider=${PROVIDER:-} connection=${CONNECTION:-} key_file=${ADMIN_KEY_FILE:-} role=${ROLE:-}
config_fields=() role_fields=()
[[ -z ${CONFIG_FIELDS:-} ]] || read -r -a config_fields <<<"${CONFIG_FIELDS//$'\n'/ }"
[[ -z ${ROLE_FIELDS:-} ]] || read -r -a role_fields <<<"${ROLE_FIELDS//$'\n'/ }"

die() {
	echo "configure: $*" >&2
	exit 1
}

# say WHAT WHICH: one line of what was done.
say() { printf 'configure: %-12s %s\n' "$1" "$2"; }

while (($#)); do
	option=$1
	shift
	case $option in
	--pin) pin=1 ;;
	--downgrade) downgrade=1 ;;
	--no-policies) policies=0 ;;
	-h | --help)
		sed -n '2,/^set -/{/^set -/!s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"
		exit
		;;
	--plugin | --sha256 | --version | --command | --name | --mount | --policy-prefix | --team | --provider | \
		--connection | --admin-key-file | --config-field | --role | --role-field)
		(($#)) || die "$option needs a value"
		case $option in
		--plugin) plugin=$1 ;;
		--sha256) sha256=$1 ;;
		--version) version=$1 ;;
		--command) command=$1 ;;
		--name) name=$1 ;;
		--mount) mount=$1 ;;
		--policy-prefix) prefix=$1 ;;
		--team) team=$1 ;;
		--provider) provider=$1 ;;
		--connection) connection=$1 ;;
		--admin-key-file) key_file=$1 ;;
		--config-field) config_fields+=("$1") ;;
		--role) role=$1 ;;
		--role-field) role_fields+=("$1") ;;
		esac
		shift
		;;
	*) die "$option is not an option; --help lists them" ;;
	esac
done

: "${VAULT_ADDR:?set VAULT_ADDR to the address of a Vault}"
vault=${VAULT_BINARY:-vault}
export VAULT_FORMAT=table
"$vault" token lookup >/dev/null 2>&1 || die 'no token that this Vault knows; set VAULT_TOKEN, or vault login'
mount=${mount%/}
mount=${mount#/}
for value in "$mount" "$name" "$team" "$role" "$connection" "$prefix"; do
	[[ $value =~ ^[A-Za-z0-9_./-]*$ ]] || die "$value is not a name; use letters, digits, dots, dashes, underscores and slashes"
done
prefix=${prefix:-${mount//\//-}-}
connection=${connection:-$provider}

# What is wrong is said before anything is changed.
if [[ -n $plugin ]]; then
	[[ -x $plugin ]] || die "$plugin is not an executable"
	sum=$(sha256sum "$plugin" 2>/dev/null || shasum -a 256 "$plugin")
	sha256=${sum%% *}
	read -r _ version _ < <("$plugin" -version)
	command=${command:-${plugin##*/}}
fi
[[ $sha256 =~ ^[0-9a-f]{64}$ && -n $version && -n $command ]] ||
	die 'which plugin? give --plugin FILE, or --sha256, --version and --command'
[[ -z $key_file || -n $provider ]] || die '--admin-key-file needs --provider'
[[ -z $key_file || $key_file == - || -s $key_file ]] || die "$key_file is empty, or is not there"
[[ -z $role || -n $connection ]] || die '--role needs --provider or --connection'
for field in ${config_fields[@]+"${config_fields[@]}"}; do
	[[ $field != admin_key=* ]] || die 'the admin key does not belong on a command line; use --admin-key-file'
done
# A pre-release sorts before its release, as what follows a tilde does.
before=$("$vault" read -field=version "$mount/info" 2>/dev/null || true)
newer=$(printf '%s\n' "${before/-/\~}" "${version/-/\~}" | sort -V | tail -n 1)
[[ -z $before || ${newer/\~/-} == "$version" || ${downgrade:-0} != 0 ]] ||
	die "$mount/ runs $before, which is newer than $version; --downgrade goes back to that"

# The plugin. A registration that changes nothing needs no reload.
registered=$("$vault" plugin info -format=json -version="$version" secret "$name" 2>/dev/null || true)
"$vault" plugin register -sha256="$sha256" -command="$command" -version="$version" secret "$name" >/dev/null
say registered "$name $version ($command)"
if [[ -n $pin && $pin != 0 ]]; then
	"$vault" write "sys/plugins/pins/secret/$name" version="$version" >/dev/null
	say pinned "$name $version"
	mount_version=()
else
	mount_version=(-plugin-version="$version")
fi

mounted=$("$vault" secrets list | awk -v path="$mount/" '$1 == path { print $2 }')
if [[ -z $mounted ]]; then
	"$vault" secrets enable -path="$mount" ${mount_version[@]+"${mount_version[@]}"} "$name" >/dev/null
	say mounted "$mount/"
elif [[ $mounted != "$name" ]]; then
	die "$mount/ is a mount of $mounted, not of $name"
else
	if ((${#mount_version[@]})); then
		"$vault" secrets tune "${mount_version[@]}" "$mount" >/dev/null
	fi
	running=$("$vault" read -field=version "$mount/info" 2>/dev/null || true)
	runs=$("$vault" read -format=json "sys/mounts/$mount" 2>/dev/null || true)
	if [[ $running != "$version" || $registered != *"$sha256"* || $registered != *"\"$command\""* ||
		$runs == *running_sha256* && $runs != *"$sha256"* ]]; then
		"$vault" plugin reload -type=secret -plugin="$name" >/dev/null
		say reloaded "$name"
	fi
fi

# A wrong checksum or version shows only when the plugin has to answer.
running=$("$vault" read -field=version "$mount/info")
[[ $running == "$version" ]] || die "$mount/ runs $running, not $version"
say runs "$running at $mount/"

# policy FILE NAME [ROLE]: writes a policy. The texts are of a mount at llm/, of the
# team "support" and its role "support/classifier".
policy() {
	sed -e "s|support/classifier|${3:-support/classifier}|" \
		-e "s|support/|${team:-support}/|g; s|/support\"|/${team:-support}\"|; s|\"support\"|\"${team:-support}\"|" \
		-e "s|\"llm/|\"$mount/|" "$here/policies/$1.hcl" | "$vault" policy write "$prefix$2" - >/dev/null
	say policy "$prefix$2"
}
if [[ $policies != 0 ]]; then
	for shared in operator security-team auditor metrics ci; do
		policy "$shared" "$shared"
	done
	[[ -z $team ]] || policy team-operator "team-$team"
fi

if [[ -n $provider ]]; then
	fields=(provider="$provider" ${config_fields[@]+"${config_fields[@]}"})
	if [[ -n $key_file ]]; then
		# Without the newline at its end, which would be a part of the key.
		[[ $key_file != - ]] || key_file=/dev/stdin
		key=$(cat -- "$key_file")
		printf %s "$key" | "$vault" write "$mount/config/$connection" "${fields[@]}" admin_key=- >/dev/null
		unset key
	else
		"$vault" write "$mount/config/$connection" "${fields[@]}" >/dev/null
	fi
	say connection "$mount/config/$connection"
fi

if [[ -n $role ]]; then
	"$vault" write "$mount/roles/$role" config_name="$connection" ${role_fields[@]+"${role_fields[@]}"} >/dev/null
	say role "$mount/roles/$role"
	if [[ $policies != 0 ]]; then
		# Two roles may have one name without slashes.
		if "$vault" policy read "${prefix}agent-${role//\//-}" >/dev/null 2>&1 &&
			! "$vault" policy read "${prefix}agent-${role//\//-}" | grep -qF "\"$mount/creds/$role\""; then
			die "policy ${prefix}agent-${role//\//-} is of another role; give another --policy-prefix"
		fi
		team='' policy agent "agent-${role//\//-}" "$role"
	fi
fi
