// Signs up, proves the address, refreshes, and creates a user with an API key, through the generated client.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const baseUrl = process.env.SDK_BASE ?? "";
const key = process.env.SDK_KEY ?? "";
const email = `ts-${process.pid}@example.com`;
const password = `violet harbour ${process.pid} tangent`;

function must<T>(what: string, reply: { data?: T; error?: unknown }): T {
  if (reply.data === undefined) throw new Error(`${what}: ${JSON.stringify(reply.error)}`);
  return reply.data;
}

async function code(): Promise<string> {
  for (let i = 0; i < 200; i++) {
    const reply = await fetch(`${baseUrl}/dev/mailbox/messages?to=${encodeURIComponent(email)}`);
    const { items } = (await reply.json()) as { items: { code: string | null }[] };
    const found = items.find((m) => m.code !== null)?.code;
    if (found) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("no code was mailed");
}

const api = createClient<paths>({ baseUrl });
const account = must("signup", await api.POST("/v1/auth/signup", { body: { email, password, display_name: "Ada" } }));
if (!("access_token" in account)) throw new Error("a server that mails a code first");
const person = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${account.access_token}` } });
const path = { id: account.user_id };
must("start", await person.POST("/v1/users/{id}/verify/email/start", { params: { path } }));
must("confirm", await person.POST("/v1/users/{id}/verify/email/confirm", { params: { path }, body: { code: await code() } }));
const me: components["schemas"]["User"] = must("me", await person.GET("/v1/me"));
if (me.email_verified_at === null || me.phone !== null) throw new Error("the address is not proved");

const pair = must("refresh", await api.POST("/v1/auth/refresh", { body: { refresh_token: account.refresh_token } }));
if (pair.refresh_token === account.refresh_token) throw new Error("the refresh token did not turn");

const server = createClient<paths>({ baseUrl, headers: { Authorization: `ApiKey ${key}` } });
const made = must("create", await server.POST("/v1/users", { body: { email: `made-by-${email}`, password } }));
if (made.email !== `made-by-${email}` || made.email_verified_at !== null) throw new Error("another user was created");
must("sign-in", await api.POST("/v1/auth/login", { body: { email: `made-by-${email}`, password } }));

const wrong = await api.POST("/v1/auth/login", { body: { email, password: "not the password" } });
if (wrong.response.status !== 401 || wrong.error?.error.code !== "invalid_credentials") throw new Error("an error is not typed");
console.log(`typescript: ${me.email} verified, a user created`);
