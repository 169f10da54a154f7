output "mount" {
  description = "Where the engine is mounted."
  value       = vault_mount.this.path
}

output "policies" {
  description = "Names of the policies that were written."
  value = sort(concat(
    [for p in vault_policy.shared : p.name],
    [for p in vault_policy.team : p.name],
    [for p in vault_policy.agent : p.name],
  ))
}

output "role_ids" {
  description = "role_id of each agent's AppRole. No secret by itself."
  value       = { for name, role in vault_approle_auth_backend_role.agent : name => role.role_id }
}
