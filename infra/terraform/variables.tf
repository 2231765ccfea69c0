# No secret is an input: it would stand in the state. secret_files are paths, and only paths are written.

variable "project_name" {
  description = "Name of this deployment: of its folder, its Compose project and its metrics."
  type        = string
  default     = "atalaya"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.project_name))
    error_message = "The project_name must be up to 40 lower-case letters, digits and hyphens, with a letter first."
  }
}

variable "artifacts_dir" {
  description = "Folder that the bundle goes to, in one of its own named like the project."
  type        = string
  default     = "artifacts"
}

variable "source_dir" {
  description = "Folder with compose.yaml and infra/, as an absolute path; empty: the checkout that this is part of."
  type        = string
  default     = ""
}

variable "environment" {
  description = "APP_ENV: what Langfuse and the metrics call this environment."
  type        = string
  default     = "dev"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{0,39}$", var.environment))
    error_message = "The environment must be up to 40 lower-case letters, digits, hyphens and underscores."
  }
}

variable "image" {
  description = "Image of the three roles; empty: what compose.yaml says, which builds it."
  type        = string
  default     = ""
}

variable "port" {
  description = "TCP port of the API on the host."
  type        = number
  default     = 8000
}

variable "telemetry_port" {
  description = "TCP port of telemetry's /metrics and /health on the host's 127.0.0.1."
  type        = number
  default     = 9464
}

variable "prometheus_port" {
  description = "TCP port of Prometheus on the host's 127.0.0.1."
  type        = number
  default     = 9090
}

variable "secret_files" {
  description = "Name of each secret of docs/configuration.md, and absolute path of its file, which user 10001 can read; without OPENAI_API_KEY a demo answers."
  type        = map(string)
  default     = {}

  validation {
    condition = length([for name in keys(var.secret_files) : name if !can(regex(
      "^(OPENAI_API_KEY|LLM_KEY_[A-Z0-9_]+|LANGFUSE_(PUBLIC|SECRET)_KEY|CAPTURE_HASH_KEY|OTEL_EXPORTER_OTLP_(TRACES_)?HEADERS|LOG_USER_ID_KEY)$", name
    ))]) == 0
    error_message = "The secret_files must be named like secrets of docs/configuration.md, without _FILE."
  }
  validation {
    condition     = length([for path in values(var.secret_files) : path if !can(regex("^/[^:$]+$", path))]) == 0
    error_message = "The secret_files must be absolute paths without colons and dollars."
  }
}

variable "settings" {
  description = "Further variables of docs/configuration.md that compose.yaml passes on, secrets excepted."
  type        = map(string)
  default     = {}

  validation {
    condition     = length([for name in keys(var.settings) : name if !can(regex("^[A-Z][A-Z0-9_]*$", name))]) == 0
    error_message = "The settings must be named like variables: upper-case letters, digits and underscores."
  }
  validation {
    condition     = length([for name in keys(var.settings) : name if can(regex("^LLM_KEY_|(KEY|SECRET|TOKEN|PASSWORD|HEADERS)$", name))]) == 0
    error_message = "The settings must not hold a secret, which would stand in the state: name its file in secret_files."
  }
  validation {
    condition     = length([for value in values(var.settings) : value if can(regex("[\r\n'\"#$\\\\]", value))]) == 0
    error_message = "The settings must have values of one line without quotes, dollars, hashes and backslashes."
  }
}

variable "scrape_interval" {
  description = "How often Prometheus asks telemetry."
  type        = string
  default     = "10s"
}

variable "alertmanagers" {
  description = "Addresses, HOST:PORT, of the Alertmanagers that alerts go to."
  type        = list(string)
  default     = []
}

variable "runbook_url" {
  description = "Where the alerts find docs/operations.md; empty: its path in the checkout."
  type        = string
  default     = ""
}

variable "health_probe" {
  description = "After the bundle is written: report says what answers on its ports, require fails unless all does, off does not look."
  type        = string
  default     = "report"

  validation {
    condition     = contains(["report", "require", "off"], var.health_probe)
    error_message = "The health_probe must be report, require or off."
  }
}

variable "health_probe_seconds" {
  description = "How long health_probe = require waits for that."
  type        = number
  default     = 60
}
