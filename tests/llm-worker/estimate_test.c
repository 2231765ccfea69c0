#include "llm-worker/estimate.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/attr.h"
#include "common/base/utf8.h"

static uint64_t of(const char *text, size_t pieces)
{
    struct estimate e = {.pieces = 0};
    size_t n = strlen(text), done = 0;

    for (size_t i = 0; i < pieces; i++) {
        size_t end = i + 1 == pieces ? n : utf8_clip(text, n, n * (i + 1) / pieces);
        estimate_add(&e, (struct str){text + done, end - done});
        estimate_add(&e, str_of(""));
        done = end;
    }
    return estimate_tokens(&e);
}

/* In one piece. o200k: what that vocabulary makes of it, counted with a tokenizer; no farther off than the header says. */
Test(estimate, is_near_what_a_vocabulary_gives)
{
    static const struct {
        const char *text;
        unsigned o200k;
    } table[] = {
        {"Langfuse is an open source platform that helps teams to trace, evaluate and improve applications "
         "built "
         "on large language models. Every request becomes a trace, and each call to a model is an "
         "observation "
         "with its tokens, its price and the time that it took. You can look at what went wrong, compare "
         "prompts, and collect feedback from the people who use the product.",
         74},
        {"Langfuse es una plataforma de código abierto que ayuda a los equipos a seguir, evaluar y mejorar "
         "aplicaciones construidas con modelos de lenguaje. Cada petición se convierte en una traza, y cada "
         "llamada al modelo es una observación con sus tokens, su precio y el tiempo que tardó. ¿Qué salió "
         "mal? "
         "Se pueden comparar instrucciones y recoger opiniones de quienes usan el producto.",
         77},
        {"Langfuse — это платформа с открытым исходным кодом, которая помогает командам отслеживать, "
         "оценивать и "
         "улучшать приложения, построенные на больших языковых моделях. Каждый запрос становится трассой.",
         47},
        {"นี่คือแพลตฟอร์มโอเพนซอร์สที่ช่วยให้ทีมติดตามและปรับปรุงแอปพลิเคชันที่สร้างขึ้นจากแบบจำลองภาษาขนาดใหญ่", 45},
        {"यह एक मुक्त स्रोत मंच है जो टीमों को बड़े भाषा मॉडल पर बने अनुप्रयोगों का पता लगाने और उन्हें बेहतर बनाने में मदद "
         "करता है।",
         31},
        {"这是一个开源平台，帮助团队跟踪、评估和改进基于大型语言模型构建的应用程序。每个请求都会成为一条跟踪"
         "记录，"
         "每次模型调用都是一个观测值。",
         47},
        {"これは、大規模言語モデルで構築されたアプリケーションの追跡、評価、改善を支援するオープンソースのプ"
         "ラットフォーム"
         "です。",
         39},
        {"이것은 대규모 언어 모델로 만든 애플리케이션을 추적하고 평가하고 개선하도록 돕는 오픈 소스 "
         "플랫폼입니다.",
         34},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint64_t got = of(table[i].text, 1);
        cr_expect(got * 4 >= table[i].o200k * 3 && got * 20 <= table[i].o200k * 27, "%s: %llu, %u",
                  table[i].text, (unsigned long long)got, table[i].o200k);
    }
}

Test(estimate, of_an_answer)
{
    static const struct {
        const char *text;
        size_t pieces;
        uint64_t want;
    } table[] = {
        {"", 1, 0},
        {"", 9, 0},
        {"a", 1, 1},
        {"Hola", 1, 1},
        {"Hola!", 1, 2},
        {"ñandú", 1, 2}, /* 3/4 + 2/3 */
        {"日本語で", 1, 3},
        {"😀😀", 1, 3},
        {"\xff\xfe", 1, 2}, /* bytes that are no text: as U+FFFD */
        /* 40 characters: ten tokens, if it is not seen better */
        {"0123456789012345678901234567890123456789", 1, 10},
        {"0123456789012345678901234567890123456789", 6, 10},
        {"0123456789012345678901234567890123456789", 7, 7},
        {"0123456789012345678901234567890123456789", 10, 10},
        {"0123456789012345678901234567890123456789", 13, 13},
        {"0123456789012345678901234567890123456789", 30, 30},
        {"0123456789012345678901234567890123456789", 40, 10}, /* character by character */
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect_eq(of(table[i].text, table[i].pieces), table[i].want, "%s in %zu: %llu", table[i].text,
                     table[i].pieces, (unsigned long long)of(table[i].text, table[i].pieces));
}

/* A token a piece, as providers send the arguments of a call. */
Test(estimate, of_the_chunks_of_a_call)
{
    static const char *const data[] = {
        "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
        "\"index\":0,"
        "\"id\":\"call_AAAAAAAAAAAAAAAAAAAAAAAA\",\"type\":\"function\",\"function\":{\"name\":\"get_"
        "weather\","
        "\"arguments\":\"\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{"
        "\\\"\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
        "\"city\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
        "\"\\\":\\\"\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
        "\"Paris\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
        "\"\\\"}\"}}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}",
    };
    struct estimate e = {.pieces = 0};
    struct chunk c;

    for (size_t i = 0; i < ARRAY_LEN(data); i++) {
        cr_assert_eq(openai_read_chunk(str_of(data[i]), &c), 0, "%s", data[i]);
        estimate_add_chunk(&e, &c);
        openai_free_chunk(&c);
    }
    cr_expect_eq(e.pieces, 6);
    cr_expect_eq(estimate_tokens(&e), 6); /* 27 characters: each piece can be a token */
}

Test(estimate, of_a_request)
{
    static const struct {
        const char *request;
        uint64_t want;
    } table[] = {
        {"", 3},
        {"{}", 3},
        {"{\"messages\":[]}", 3},
        {"{\"messages\":7,\"model\":\"a model's name is no part of it\"}", 3},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"Hola\"}]}", 8},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"Hola\"},{\"role\":\"user\",\"content\":"
         "\"\\u65e5\\u65e5"
         "\\u65e5\\u65e5\"}]}",
         15},
        {"{\"messages\":[{\"content\":null,\"name\":\"12345678\",\"tool_calls\":[1234567890]},7]}", 16},
        {"{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"Hola\"},{\"type\":\"image_url\",\"image_"
         "url\":"
         "{\"url\":\"data:image/png;base64,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}},7,[]]}]}",
         8 + 765},
        {"{\"messages\":[],\"tools\":[12345678901234],\"response_format\":{\"type\":\"json_object\"}}",
         3 + 4 + 6},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect_eq(estimate_prompt(str_of(table[i].request)), table[i].want, "%s: %llu", table[i].request,
                     (unsigned long long)estimate_prompt(str_of(table[i].request)));
}
