// One message a line comes in, as JSON: {library, secret, headers, body}, the body in base64.
// One line goes out for each: {event}, what the library has read, or {refused}, why it has not.
import { createInterface } from "node:readline";
import * as standardwebhooks from "standardwebhooks";
import * as svix from "svix";

const libraries = { standardwebhooks, svix };

for await (const line of createInterface({ input: process.stdin })) {
  const { library, secret, headers, body } = JSON.parse(line);
  console.log(JSON.stringify(verified(libraries[library], secret, headers, Buffer.from(body, "base64"))));
}

function verified({ Webhook, WebhookVerificationError }, secret, headers, body) {
  try {
    return { event: new Webhook(secret).verify(body, headers) };
  } catch (error) {
    // Anything else is no refusal: it ends this program.
    if (!(error instanceof WebhookVerificationError)) throw error;
    return { refused: error.message };
  }
}
