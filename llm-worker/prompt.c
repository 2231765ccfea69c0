#include "llm-worker/prompt.h"

#include "common/base/json.h"

static const char system_prompt[] = "Eres un asistente breve, preciso y en español.";

static void put_message(struct buf *out, const char *role, struct str content)
{
    buf_putc(out, '{');
    json_field_str(out, "role", str_of(role));
    json_field_str(out, "content", content);
    buf_putc(out, '}');
}

void prompt_write(struct buf *out, const char *model, struct str question, bool stream, bool options)
{
    buf_putc(out, '{');
    json_field_str(out, "model", str_of(model));
    json_key(out, "messages");
    buf_putc(out, '[');
    put_message(out, "system", str_of(system_prompt));
    buf_putc(out, ',');
    put_message(out, "user", question);
    buf_puts(out, "],\"temperature\":0.2");
    if (stream)
        buf_puts(out, ",\"stream\":true");
    if (stream && options)
        buf_puts(out, ",\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":false}");
    buf_putc(out, '}');
}
