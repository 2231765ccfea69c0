output "artifact_id" {
  description = "Name of this deployment, for as long as its project and environment stay what they are."
  value       = local.artifact_id
}

output "generated_file" {
  description = "The env file: docker compose --env-file takes it, and all the rest follows."
  value       = local_file.bundle["atalaya.env"].filename
}

output "bundle" {
  description = "SHA-256 of every file that was written."
  value       = { for name, content in local.bundle_files : "${local.bundle}/${name}" => sha256(content) }
}

output "start" {
  description = "The command that starts what was rendered."
  value       = "docker compose --env-file ${local_file.bundle["atalaya.env"].filename} up -d"
}
