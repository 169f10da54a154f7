// Package acceptance runs scenarios on a real Vault: a server with raft storage,
// sealed, not in dev mode, with the built plugin registered under its checksum
// and version. A scenario is a script in testdata, of commands that an operator
// would type and of facts about the world after them:
//
//	# lease_revoke: a revoked lease is dead at the provider when the command returns
//
//	vaultd start
//	exec vault write llm/config/openai provider=openai base_url=$FAKE_URL admin_key=$ADMIN_KEY
//	exec vault write llm/roles/agent config_name=openai project_id=$PROJECT
//	exec vault read -format=json llm/creds/agent
//	json stdout .lease_id LEASE .data.api_key KEY
//	fake alive $KEY
//	exec vault lease revoke -sync $LEASE
//	fake dead $KEY
//	records llm 0
//
// Scripts are named by their subject first. The language is that of testscript
// (go doc github.com/rogpeppe/go-internal/testscript); what is here is on top.
//
//	go test ./backend/acceptance                            # all of them
//	go test ./backend/acceptance -run TestScripts/^move$ -v # one, with all that it did
//	go test ./backend/acceptance -artifacts                 # keep the logs of those that fail
//	go test ./backend/acceptance -run TestPages/^incident$  # the commands of a page of docs/
//
// VAULT_BINARY is the Vault to start, else the vault in PATH, else bin/vault,
// which make vault builds. PLUGIN_BINARY is the plugin, with a pending age of some
// 20 s; it is built if that is not set. Scripts that begin with terraform_ need
// TERRAFORM_BINARY, or a terraform or tofu in PATH, or bin/tofu, and
// TERRAFORM_PROVIDER_VAULT or bin/terraform-provider-vault: make terraform builds what
// there is not.
//
// # The world of a script
//
// Each script has a Vault of its own, from vaultd start on, and one simulated account
// of every provider, each on a loopback port of its own, in the process of the test:
// packages fakeanthropic, fakelitellm, fakeopenai and fakeopenrouter. All scripts run
// at the same time, because Vault sweeps once a minute and some wait for it; those
// with a cluster wait for their turn. A wait has an end, and what is started here ends
// with its script, or with the test should that die.
//
// Most scripts are about what is the same for all providers, and use OpenAI; those
// about another one begin with its name. sim_test.go says how a provider is added.
//
// Terraform is "exec terraform", Terraform or OpenTofu. It reaches no registry, so there
// is no init; get finds the modules.
//
// A Vault is one node, or, after vaultd start 3, a cluster of three, each with its
// own storage, which elect a leader. $VAULT_ADDR is then a front before them, which
// sends each request to the node that leads, and answers 503 while none does. What
// commands say of the leader holds of a single node too.
//
// At the end of every script, whatever it is about, three things must hold: each live
// key that the engine made at any provider, admin keys included, is known to a ledger,
// by its name, or, as tokens have none, by the id in what they were given for; nothing
// at a provider was deleted, or switched off, by two at once; and no secret that a
// simulator ever knew, nor a private key of the engine's own, is in the log of a node
// at trace level (which holds what the plugin writes on stderr), in the audit log, in
// what the CLI said on stderr or in a failure, or in the URL of a request to a
// provider.
//
// # Pages
//
// TestPages runs the pages of the documentation, README.md and docs/*.md. A page is a
// script: all that it shows is done in its order, in one bash, so that variables live
// on. The providers' hosts are simulated under their real names, behind a proxy that
// Vault and the shell have in their environment: see internet_test.go. So a command is
// run as it stands.
//
// A block of commands is fenced as console: each begins with "$ ", and what it prints is
// below it. page_output_test.go says how that is compared. Any other block of shell
// commands is refused, and so is one without "$ ". An id that the page shows, where the
// answer had another, is replaced by that in the commands that follow.
//
// HTML comments, each at the beginning of a line, say what no reader sees:
//
//   - <!-- run: LINES -->
//     Lines of a script, such as what the page takes for granted, or a check of what it
//     claims. The first one of a page that needs a Vault begins with vaultd start. A
//     line "with NAME" stands for testdata/pages/NAME.txt.
//
//   - <!-- not run: REASON -->
//     The block below cannot be run. It is counted.
//
//   - <!-- needs: PROGRAM -->
//     The block below is not run where there is no such program.
//
//   - <!-- file: NAME -->
//     The block below is the content of a file, in the shell's directory.
//
//   - <!-- PATH -->
//     The block below is a part of that file of the repository. docs holds it to that.
//
// The script's variables that these lines name are the shell's too. $PLUGINS is the
// plugin directory of the page's own Vault, and bootstrap, in the shell's directory,
// that of the repository. Commands within a sentence are not run: TestInlineCommands
// looks whether their paths and fields exist. Words on top of those below:
//
//   - field NAME VAR
//     Set VAR to a field of the table that the last command printed.
//
//   - means TEXT VALUE
//     Where a command of the page shows TEXT, it is run with VALUE.
//
//   - said FILE
//     Write what the last command printed to a file.
//
//   - save FILE TEXT
//     Write a text to a file, without a newline at its end.
//
//   - typed TEXT
//     The next command of the page reads this line from its standard input.
//
// # Variables
//
//	$ADMIN_KEY             the admin key of the simulated OpenAI organization
//	$ANTHROPIC_ADMIN_KEY   the Admin API key of the simulated Anthropic organization
//	$ANTHROPIC_ORG         the id of that organization
//	$ANTHROPIC_URL         base URL of the simulated Anthropic
//	$ANTHROPIC_WORKSPACE   a workspace of that organization
//	$AUDIT_LOG             file of the audit device
//	$BOOTSTRAP             the directory of that name: what users are given to start from
//	$CLI_LOG               what the CLI said on stderr, and all that an agent and Terraform said
//	$FAKE_URL              base URL of the simulated OpenAI
//	$LITELLM_ADMIN_KEY     the first admin key of the simulated LiteLLM proxy
//	$LITELLM_MASTER_KEY    its master key
//	$LITELLM_TEAM          a team of the proxy
//	$LITELLM_URL           base URL of the simulated LiteLLM
//	$OPENROUTER_ADMIN_KEY  the management key of the simulated OpenRouter account
//	$OPENROUTER_URL        base URL of the simulated OpenRouter
//	$OPENROUTER_WORKSPACE  a workspace of the simulated OpenRouter account
//	$OTHER_URL             base URL of a host that is none of the providers'
//	$PLUGIN                name of the plugin
//	$PLUGIN_DIR            plugin_directory; the file of the plugin has its name
//	$PLUGIN_SHA256         its SHA-256
//	$PLUGIN_VERSION        its version
//	$PORT                  a loopback port that nothing listens on yet
//	$PROJECT               a project of the simulated OpenAI organization
//	$ROOT_TOKEN            as VAULT_TOKEN was at first
//	$SERVER_LOG            log of the server, across its restarts; of a cluster, of node1
//	$SNAPSHOTS             directory of the backups of earlier builds
//	$TERRAFORM_ROOT        a directory with a root module, main.tf, over that in $BOOTSTRAP;
//	                       its variables are set, as TF_VAR_...
//	$VAULT_ADDR            as the CLI reads it
//	$VAULT_TOKEN           as the CLI reads it
//
// # Commands
//
// [!] marks those that may be negated. A range is 3, 1..3, 1.. or ..3.
//
//   - apart TIME TIME MIN MAX
//     The second time, in RFC 3339, is MIN to MAX later than the first.
//
//   - await DURATION [!] COMMAND...
//     Repeat one of these commands, or exec, until it succeeds.
//
//   - build VERSION VAR
//     Build the plugin under test as another version, beside it in the plugin
//     directory under its name, an underscore and VERSION, and set VAR to its sha256.
//
//   - churn CALLERS PATH N WRITE_PATH
//     So many callers read PATH and revoke the lease at once, again and again without
//     a pause, until WRITE_PATH was written N times, one after the other. Any request
//     that fails is a failure, and so is a caller that did nothing meanwhile.
//
//   - [!] clean FILE...
//     The files, which are not empty, hold no secret that there ever was.
//
//   - crash node|plugin
//     kill -9 of every process of the plugin, on the leader. Vault starts a new one
//     when it needs it. With node, of the leader and its plugins together, as when
//     their machine dies.
//
//   - fake WORD...
//     Is sim openai WORD..., for short.
//
//   - [!] follow CALLERS PATH N WRITE_PATH [FIELD=VALUE]...
//     So many callers read the key of a static role at PATH, call the data plane with
//     it for a moment, and read it again, without a pause, until WRITE_PATH was
//     written N times, one after the other. A request that Vault fails or the data
//     plane refuses is a failure, and so are fewer keys than N+1, and a caller that
//     did nothing meanwhile.
//
//   - hangup DURATION PATH
//     Read PATH, and hang up after DURATION. An answer before that is a failure.
//
//   - [!] http STATUS METHOD PATH [FIELD=VALUE]...
//     Send a request, with what the command line would drop, such as a slash at the
//     end of PATH. The answer has STATUS; its body is on stdout.
//
//   - issue N PATH
//     Read PATH N times, as several callers at once. Each must succeed.
//
//   - json FILE PATH VAR [PATH VAR]...
//     Set VAR to what PATH, such as .data.keys.0, leads to in a JSON document.
//     Missing and null are failures.
//
//   - [!] kept
//     Each lease that callers of the last storm hold works: its key is alive, and it
//     can be renewed. The key of each that they gave back is dead.
//
//   - [!] known
//     Every live key that the engine made has a record in a ledger.
//
//   - plugins RANGE
//     So many processes of the plugin run, on the leader.
//
//   - records MOUNT RANGE [STATE]
//     The ledger of a mount holds so many records of roles' keys, in the state
//     pending, active or revoking if one is given. It is read from Vault's storage.
//
//   - signing RANGE
//     So many private keys, of those that the engine makes and no provider knows, were
//     ever seen in Vault's storage: by this command, which looks again, and at the end
//     of the script. A key that a rotation replaces in between is seen by neither.
//
//   - sim PROVIDER WORD...
//     Ask or change the world at a provider; see below.
//
//   - [!] storm CALLERS PATH KILLS [SEED]
//     So many callers read PATH, renew some of the leases and revoke most of them,
//     again and again without a pause. Meanwhile the leader is killed so many times,
//     with its plugin or without, each time at a moment that nobody foresees, and
//     started again before the next. Requests may fail while no node leads, and when
//     the leader changes; any other that fails is a failure, and so is a caller that
//     did nothing. A few leases are held at the end: see kept.
//
//   - vaultd kill|pause|resume|step-down
//     Kill is kill -9 of the leader's server alone: its plugins live on, and nobody
//     hears them. Pause stops the leader with its plugins, as when a machine hangs,
//     and resume lets all that stand still go on. Step-down makes the leader resign,
//     and waits until it has.
//
//   - vaultd leader VAR
//     Wait for a leader, and set VAR to the name of its node.
//
//   - vaultd restart|start [NODES]|stop
//     The first start makes a Vault of so many nodes, or of one: initialised,
//     unsealed, with an audit device, the plugin registered and mounted at llm/. A
//     later start unseals the same storage on every node that was ended.
//
//   - vaultd save|restore NAME
//     Save writes a backup of a single node: its raft snapshot as NAME.snap, with the
//     unseal key and the root token beside it as NAME.json. Restore puts such a backup
//     in place of all that the node has, and sets $VAULT_TOKEN and $ROOT_TOKEN.
//
//   - within NUMBER RANGE
//     The number is in the range.
//
// # The words of sim, for every provider
//
//   - alive|dead SECRET...
//     The data plane would, or would not, accept each of these keys now. It did
//     make them once.
//
//   - clear
//     Remove all faults. Requests that hang go on hanging.
//
//   - count OP RANGE [STATUS]
//     So many requests of an operation, or of any, came since the last reset, and
//     were answered STATUS.
//
//   - delete KEY_ID
//     Delete a key, as in the provider's console. At Anthropic it is archived,
//     and so may be an issuer.
//
//   - inject OP FIELD=VALUE...
//     Spoil requests of an operation, or of any: the fields are those of fake.Fault,
//     such as Status=500 Times=1 AfterEffect=true, or 'Hang=hang before'.
//
//   - knobs [FIELD=VALUE]...
//     Set all knobs: the fields are those of the simulator's Knobs.
//
//   - live RANGE
//     So many keys exist, are switched on, and have not expired. Tokens are none.
//
//   - minted RANGE
//     So many keys were ever made.
//
//   - plant SCOPE NAME VAR [SECRET_VAR]
//     Make a key that is not the engine's, in a project or a workspace, and set VAR to
//     its id, and SECRET_VAR to the key.
//
//   - reset
//     Count requests from here on.
//
// # The words that only Anthropic has
//
// Anthropic's organization serves the providers anthropic and anthropic-pool. A key for
// a pool is made by plant.
//
//   - sim anthropic account NAME VAR
//     Make a service account that is a member of $ANTHROPIC_WORKSPACE, and set VAR to
//     its id.
//
//   - sim anthropic archived RULE_ID true|false
//     The rule is archived, or is not.
//
//   - sim anthropic issuer FILE VAR
//     Make the issuer that FILE describes, as in the Console, and set VAR to its id.
//
//   - sim anthropic member ACCOUNT_ID true|false
//     The service account is a member of $ANTHROPIC_WORKSPACE, or is not.
//
//   - sim anthropic public ISSUER_ID RANGE
//     The issuer holds so many public keys.
//
//   - sim anthropic rule FILE VAR [PLACEHOLDER VALUE]...
//     Make the rule that FILE describes, with each PLACEHOLDER replaced, as in the
//     Console, and set VAR to its id.
//
//   - sim anthropic told TOKEN CLAIM VAR
//     Set VAR to a claim of the assertion that a live token was given for; kid is the
//     id of the key that signed it.
//
//   - sim anthropic tokens RANGE
//     So many tokens were given to holders and have not expired.
//
// # The words that only LiteLLM has
//
//   - sim litellm admins RANGE
//     So many admin keys exist and work now, without the master key.
//
//   - sim litellm complete SECRET MODEL STATUS
//     A completion by the model is answered STATUS. It is bounded, and charged.
//
//   - sim litellm show KEY_ID FILE
//     Write what the proxy knows of a live key to FILE, without the key.
//
// # The words that only OpenAI has
//
//   - fake accounts PROJECT RANGE
//     So many service accounts exist in the project.
//
//   - fake admin alive|dead
//     $ADMIN_KEY works, or does not, now.
//
//   - fake admin new VAR
//     Make another admin key, as an operator does in the console, and set VAR to it.
//
//   - fake admins RANGE
//     So many admin keys exist and work now.
//
//   - fake age ID CREATED [USED]
//     Give a key, an admin key or a service account another past: it was made and
//     last used so long ago, such as 2400h; without USED it never was.
//
//   - fake archive PROJECT
//     Archive a project.
//
//   - fake orphan NAME VAR
//     Make a key beside the one of that name, as the mount that named it does, and
//     set VAR to its id. No ledger leads to it.
//
//   - fake other RANGE
//     So many connections were ever made to $OTHER_URL, which answers 401.
//
//   - fake project PROJECT
//     Make a project.
//
//   - fake rate PER_SECOND BURST
//     Answer 429 beyond that rate.
//
//   - fake revoke admin
//     Delete the admin key, as in OpenAI's console.
//
//   - fake save|restore FILE
//     Write all that exists in the organization to FILE; or make all of that again,
//     beside what there is, with the same ids and secrets.
package acceptance
