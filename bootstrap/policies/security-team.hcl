# Security team: stops everything, and sees no key.
path "llm/lookup"         { capabilities = ["update"] }
path "llm/revoke"         { capabilities = ["update"] }
path "llm/suspend"        { capabilities = ["list"] }
path "llm/suspend/*"      { capabilities = ["read", "update"] }
path "llm/resume/*"       { capabilities = ["update"] }
path "llm/keys"           { capabilities = ["read", "list"] }
path "llm/keys/*"         { capabilities = ["read"] }
path "llm/roles"          { capabilities = ["list"] }
path "llm/roles/*"        { capabilities = ["read", "list"] }
path "llm/static-roles"   { capabilities = ["list"] }
path "llm/static-roles/*" { capabilities = ["read", "list"] }
path "llm/config"         { capabilities = ["list"] }
path "llm/audit/*"        { capabilities = ["read"] }
path "llm/rotate-root/*"  { capabilities = ["update"] } # a leaked admin key
path "llm/rotate-role/*"  { capabilities = ["update"] } # a leaked static key
