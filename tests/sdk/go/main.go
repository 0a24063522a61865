// Signs up, proves the address, refreshes, and creates a user with an API key, through the generated client.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"qeetid/sdkcheck/qeetid"
)

var base = os.Getenv("SDK_BASE")

func must(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

// With sends this value in the Authorization header.
func with(authorization string) qeetid.ClientOption {
	return qeetid.WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", authorization)
		return nil
	})
}

func client(options ...qeetid.ClientOption) *qeetid.ClientWithResponses {
	made, err := qeetid.NewClientWithResponses(base, options...)
	must("client", err)
	return made
}

func code(email string) string {
	for range 200 {
		reply, err := http.Get(base + "/dev/mailbox/messages?to=" + url.QueryEscape(email))
		must("mailbox", err)
		var box struct {
			Items []struct{ Code *string }
		}
		must("mailbox", json.NewDecoder(reply.Body).Decode(&box))
		must("mailbox", reply.Body.Close())
		for _, message := range box.Items {
			if message.Code != nil {
				return *message.Code
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	fail("no code was mailed")
	return ""
}

func main() {
	ctx := context.Background()
	email := fmt.Sprintf("go-%d@example.com", os.Getpid())
	password := fmt.Sprintf("violet harbour %d tangent", os.Getpid())

	api := client()
	key := "signup-" + email
	once := &qeetid.SignupParams{IdempotencyKey: &key}
	signup, err := api.SignupWithResponse(ctx, once, qeetid.SignupRequest{Email: email, Password: password})
	must("signup", err)
	account := signup.JSON201
	if account == nil {
		fail("signup: %s", signup.Body)
	}

	again, err := api.SignupWithResponse(ctx, once, qeetid.SignupRequest{Email: email, Password: password})
	must("signup again", err)
	if string(again.Body) != string(signup.Body) || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		fail("sent again with its key: %s", again.Body)
	}

	person := client(with("Bearer " + account.AccessToken))
	start, err := person.StartEmailVerificationWithResponse(ctx, account.UserId, nil)
	must("start", err)
	if start.JSON200 == nil {
		fail("start: %s", start.Body)
	}
	confirm, err := person.ConfirmEmailVerificationWithResponse(ctx, account.UserId, nil, qeetid.CodeRequest{Code: code(email)})
	must("confirm", err)
	if confirm.JSON200 == nil {
		fail("confirm: %s", confirm.Body)
	}
	me, err := person.GetMeWithResponse(ctx)
	must("me", err)
	if me.JSON200 == nil || me.JSON200.EmailVerifiedAt == nil || me.JSON200.Phone != nil {
		fail("the address is not proved: %s", me.Body)
	}

	pair, err := api.RefreshWithResponse(ctx, nil, qeetid.RefreshRequest{RefreshToken: account.RefreshToken})
	must("refresh", err)
	if pair.JSON200 == nil || pair.JSON200.RefreshToken == account.RefreshToken {
		fail("refresh: %s", pair.Body)
	}

	server := client(with("ApiKey " + os.Getenv("SDK_KEY")))
	row := qeetid.CreateUserRequest{Email: "made-by-" + email, Password: &password}
	made, err := server.CreateUserWithResponse(ctx, nil, row)
	must("create", err)
	if made.JSON201 == nil || made.JSON201.Email != row.Email || made.JSON201.EmailVerifiedAt != nil {
		fail("create: %s", made.Body)
	}
	entered, err := api.LoginWithResponse(ctx, nil, qeetid.LoginRequest{Email: row.Email, Password: password})
	must("sign-in", err)
	if entered.JSON200 == nil {
		fail("sign-in: %s", entered.Body)
	}

	wrong, err := api.LoginWithResponse(ctx, nil, qeetid.LoginRequest{Email: email, Password: "not the password"})
	must("login", err)
	if wrong.JSON401 == nil || wrong.JSON401.Error.Code != "invalid_credentials" {
		fail("an error is not typed: %s", wrong.Body)
	}
	fmt.Printf("go: %s verified, a user created\n", me.JSON200.Email)
}
