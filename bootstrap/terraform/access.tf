# Policies, of the texts in ../policies, and logins for agents.

locals {
  policy_prefix = coalesce(var.policy_prefix, "${replace(var.mount, "/", "-")}-")

  policy_files = "${path.module}/../policies"

  # The texts are of a mount at llm/, of the team "support" and its role
  # "support/classifier".
  team_policies = {
    for team in var.teams : "team-${team}" => replace(replace(
    file("${local.policy_files}/team-operator.hcl"), "support", team), "\"llm/", "\"${var.mount}/")
  }
  agent_policies = {
    for name, agent in var.agents : "agent-${name}" => join("", concat(
      [for role in agent.roles : replace(replace(local.agent_text, "support/classifier", role), "llm/creds/", "${var.mount}/creds/")],
      [for role in agent.static_roles : replace(replace(local.agent_text, "support/classifier", role), "llm/creds/", "${var.mount}/static-creds/")],
    ))
  }
  agent_text = "${trimspace(file("${local.policy_files}/agent.hcl"))}\n"
}

resource "vault_policy" "shared" {
  for_each = var.policies

  name   = "${local.policy_prefix}${each.key}"
  policy = replace(file("${local.policy_files}/${each.key}.hcl"), "\"llm/", "\"${var.mount}/")
}

resource "vault_policy" "team" {
  for_each = local.team_policies

  name   = "${local.policy_prefix}${each.key}"
  policy = each.value
}

resource "vault_policy" "agent" {
  for_each = local.agent_policies

  name   = "${local.policy_prefix}${each.key}"
  policy = each.value
}

resource "vault_auth_backend" "approle" {
  count = var.auth_mount != "" && var.create_auth_mount ? 1 : 0

  type = "approle"
  path = var.auth_mount
}

# No secret_id is made here: it would be in the state.
resource "vault_approle_auth_backend_role" "agent" {
  for_each = var.auth_mount != "" ? var.agents : {}

  backend               = var.auth_mount
  role_name             = each.key
  token_policies        = [vault_policy.agent["agent-${each.key}"].name]
  token_ttl             = each.value.token_ttl
  token_max_ttl         = each.value.token_max_ttl
  token_period          = each.value.token_period
  token_bound_cidrs     = each.value.token_bound_cidrs
  secret_id_ttl         = each.value.secret_id_ttl
  secret_id_num_uses    = each.value.secret_id_num_uses
  secret_id_bound_cidrs = each.value.secret_id_bound_cidrs

  depends_on = [vault_auth_backend.approle]
}
