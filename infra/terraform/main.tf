locals {
  source = var.source_dir != "" ? var.source_dir : abspath("${path.module}/../..")
  bundle = abspath("${var.artifacts_dir}/${var.project_name}")

  secrets = { for name, file in var.secret_files : name => {
    file = file
    role = can(regex("^(OPENAI_API_KEY|LLM_KEY_)", name)) ? "llm-worker" : name == "LOG_USER_ID_KEY" ? "gateway" : "telemetry"
  } }

  # Relative paths of compose.yaml hold from its own folder. Its own .env is not read beside this file.
  variables = merge({
    COMPOSE_PROJECT_NAME = var.project_name
    COMPOSE_FILE         = "${local.source}/compose.yaml:${local.bundle}/compose.override.yaml"
    APP_ENV              = var.environment
    PORT                 = var.port
    TELEMETRY_PORT       = var.telemetry_port
    PROMETHEUS_PORT      = var.prometheus_port
  }, var.settings)

  # A misspelt one would be in the bundle and do nothing.
  unknown = [for name in keys(var.settings) : name if !can(regex("^COMPOSE_", name)) &&
  !can(regex("[^A-Z0-9_]${name}[^A-Z0-9_]", file("${local.source}/compose.yaml")))]

  rules  = file("${local.source}/infra/prometheus/rules.yml")
  alerts = file("${local.source}/infra/prometheus/alerts.yml")

  bundle_files = {
    "atalaya.env" = templatefile("${path.module}/templates/atalaya.env.tftpl", {
      artifact_id = local.artifact_id
      variables   = local.variables
    })
    "compose.override.yaml" = templatefile("${path.module}/templates/compose.override.yaml.tftpl", {
      artifact_id = local.artifact_id
      bundle      = local.bundle
      image       = var.image
      secrets     = local.secrets
    })
    "prometheus/prometheus.yml" = templatefile("${path.module}/templates/prometheus.yml.tftpl", {
      project_name    = var.project_name
      environment     = var.environment
      scrape_interval = var.scrape_interval
      alertmanagers   = var.alertmanagers
    })
    "prometheus/rules.yml" = local.rules
    "prometheus/alerts.yml" = (
      var.runbook_url == "" ? local.alerts : replace(local.alerts, "docs/operations.md", var.runbook_url)
    )
  }

  artifact_id = "${var.project_name}-${random_id.artifact.hex}"
}

# The same deployment keeps its id; another name or environment is another one.
resource "random_id" "artifact" {
  byte_length = 4
  keepers = {
    project_name = var.project_name
    environment  = var.environment
  }
}

resource "local_file" "bundle" {
  for_each = local.bundle_files

  filename             = "${local.bundle}/${each.key}"
  content              = each.value
  file_permission      = "0644" # Prometheus reads as a user of its own
  directory_permission = "0755"

  lifecycle {
    precondition {
      condition     = length(local.unknown) == 0
      error_message = "compose.yaml does not pass on these settings: ${join(", ", local.unknown)}. Are they spelled right?"
    }
  }

  depends_on = [null_resource.folder]
}

# The provider removes its files and leaves their folders: this goes last and takes along those that are empty.
resource "null_resource" "folder" {
  triggers = {
    bundle = local.bundle
  }

  provisioner "local-exec" {
    command = "mkdir -p \"$BUNDLE/prometheus\""
    environment = {
      BUNDLE = self.triggers.bundle
    }
  }
  provisioner "local-exec" {
    when    = destroy
    command = <<-END
      rmdir "$BUNDLE/prometheus" "$BUNDLE" "$(dirname "$BUNDLE")" 2>/dev/null
      [ ! -d "$BUNDLE" ] || echo "$BUNDLE stays: it holds what Terraform has not written"
    END
    environment = {
      BUNDLE = self.triggers.bundle
    }
  }
}

resource "null_resource" "health" {
  triggers = {
    bundle  = sha256(jsonencode(local.bundle_files))
    mode    = var.health_probe
    seconds = var.health_probe_seconds
    look    = var.health_probe == "require" ? timestamp() : "" # what answered yesterday is no proof
  }

  provisioner "local-exec" {
    command = "\"$PROBE\""
    environment = {
      PROBE                = abspath("${path.module}/probe")
      BUNDLE               = local.bundle
      HEALTH_PROBE         = var.health_probe
      HEALTH_PROBE_SECONDS = var.health_probe_seconds
      GATEWAY              = "http://127.0.0.1:${var.port}"
      TELEMETRY            = "http://127.0.0.1:${var.telemetry_port}"
      PROMETHEUS           = "http://127.0.0.1:${var.prometheus_port}"
    }
  }

  depends_on = [local_file.bundle]
}
