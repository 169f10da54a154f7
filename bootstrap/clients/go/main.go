// Command go answers each line of its input, for as long as there is one. Keys come
// and go meanwhile.
//
//	OPENAI_API_KEY_FILE=/run/vault-agent/openai-key go run .
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"vault-plugin-secrets-llm/bootstrap/clients/go/keyfile"
)

func main() {
	key := keyfile.OpenAI(cmp.Or(os.Getenv("OPENAI_API_KEY_FILE"), "/run/vault-agent/openai-key"))
	client := openai.NewClient(option.WithMiddleware(key.Middleware))

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		completion, err := client.Chat.Completions.New(context.Background(), openai.ChatCompletionNewParams{
			Model:    "gpt-4.1-mini",
			Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(lines.Text())},
		})
		if refused, ok := errors.AsType[*openai.Error](err); ok && refused.StatusCode == http.StatusUnauthorized {
			fmt.Fprintln(os.Stderr, "the key in the file is refused")
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
		} else {
			fmt.Println(completion.Choices[0].Message.Content)
		}
	}
}
