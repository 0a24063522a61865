// The token leaves the address bar (and so the history and the referrer) at once; only the button sends it.
const form = document.querySelector("form"), status = document.querySelector("[role=status]");
const token = new URLSearchParams(location.search).get("token") || "";
history.replaceState(null, "", location.pathname);
const say = (text, bad) => { status.textContent = text; status.className = bad ? "bad" : ""; };
if (!token) say("This link is not complete. Open it again from the mail.", true);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { token }, first = form.elements.new_password, again = form.elements.again;
  if (first) {
    if (first.value !== again.value) return say("The two passwords are not the same.", true);
    body.new_password = first.value;
    // Whoever sets a new password by mail may do it because somebody else was in the account.
    body.end_api_keys = true;
  }
  const button = form.querySelector("button");
  button.disabled = true;
  say("One moment …");
  try {
    const answer = await fetch(form.dataset.api, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const json = await answer.json();
    if (answer.ok) { say(json.message); form.remove(); return; }
    say(json.error.detail || json.error.message, true);
  } catch {
    say("The service can't be reached. Try again.", true);
  }
  button.disabled = false;
});
