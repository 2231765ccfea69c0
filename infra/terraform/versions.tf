# Wide on purpose: only what every release in these ranges has is used.
terraform {
  required_version = ">= 1.2"

  required_providers {
    local = {
      source  = "hashicorp/local"
      version = ">= 1.4, < 3.0"
    }
    null = {
      source  = "hashicorp/null"
      version = ">= 1.0, < 4.0"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 2.0, < 4.0"
    }
  }
}
