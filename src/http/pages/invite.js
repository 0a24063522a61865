// The token leaves the address bar (and so the history and the referrer) at once; only the button sends it.
const form = document.querySelector("form"), status = document.querySelector("[role=status]");
const token = new URLSearchParams(location.search).get("token") || "";
history.replaceState(null, "", location.pathname);
const say = (text, bad) => { status.textContent = text; status.className = bad ? "bad" : ""; };
if (!token) say("This link is not complete. Open it again from where you found it.", true);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token, password: form.elements.password.value }, name = form.elements.display_name.value.trim();
  if (name) body.display_name = name;
  const button = form.querySelector("button");
  button.disabled = true;
  say("One moment …");
  try {
    const answer = await fetch(form.dataset.api, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const json = await answer.json();
    if (answer.ok) {
      say("You have joined. Sign in with this password.");
      // Nobody keeps the tokens of this page: its session ends with it.
      const headers = { Authorization: "Bearer " + json.access_token };
      await fetch(form.dataset.logout, { method: "POST", headers }).catch(() => {});
      form.remove();
      return;
    }
    say(json.error.code === "invalid_credentials" ? "There is an account with this e-mail address, and this is not its password."
      : json.error.detail || json.error.message, true);
  } catch {
    say("The service can't be reached. Try again.", true);
  }
  button.disabled = false;
});
