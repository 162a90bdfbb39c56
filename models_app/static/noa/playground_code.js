"use strict";

// The request of the playground as a program would send it.
window.noaCode = (() => {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

    const curl = (address, body) => [
        `curl ${address}/chat/completions \\`,
        "  -H \"Authorization: Bearer $NOA_API_KEY\" \\",
        "  -H 'Content-Type: application/json' \\",
        `  -d ${quoted(JSON.stringify(body, null, 2))}`,
    ].join("\n");

    // JSON is valid Python but for true, false and null, which no request of the playground contains.
    const python = (address, body) => [
        "import os",
        "from openai import OpenAI",
        "",
        `client = OpenAI(base_url=${JSON.stringify(address)}, api_key=os.environ["NOA_API_KEY"])`,
        "stream = client.chat.completions.create(",
        ...Object.entries(body).filter(([name]) => name !== "stream").map(
            ([name, value]) => `    ${name}=${JSON.stringify(value)},`),
        "    stream=True,",
        ")",
        "for chunk in stream:",
        "    if chunk.choices:",
        "        print(chunk.choices[0].delta.content or \"\", end=\"\", flush=True)",
    ].join("\n");

    const javascript = (address, body) => [
        "import OpenAI from \"openai\";",
        "",
        `const client = new OpenAI({ baseURL: ${JSON.stringify(address)}, apiKey: process.env.NOA_API_KEY });`,
        `const stream = await client.chat.completions.create(${JSON.stringify(body, null, 2)});`,
        "for await (const chunk of stream) {",
        "  process.stdout.write(chunk.choices[0]?.delta?.content ?? \"\");",
        "}",
    ].join("\n");

    return { curl, python, javascript };
})();
