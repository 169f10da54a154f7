# CI job: reads a key of the role "ci", or the static key of "ci-shared".
path "llm/creds/ci"               { capabilities = ["read"] }
path "llm/static-creds/ci-shared" { capabilities = ["read"] }
