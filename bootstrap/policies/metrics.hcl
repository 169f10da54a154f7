# Metrics scraper: reads the metrics of the mount.
path "llm/metrics" { capabilities = ["read"] }
