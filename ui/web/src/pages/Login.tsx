import { Button, PasswordInput, TextInput } from "@mantine/core";
import { type FormEvent, useEffect, useState } from "react";
import { client } from "../api/queries";
import { logIn } from "../api/session";
import { Brand } from "../components/Icon";
import { Trouble } from "../components/parts";

/** By name and password; by a token where there are no users yet. Afterwards the page that was asked for. */
export function Login({ why }: { why?: string | undefined }) {
  const [byToken, setByToken] = useState(false);
  const [user, setUser] = useState("");
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    document.title = "Log in · rscaler";
  }, []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      client.clear();
      await logIn(byToken ? { token: secret } : { user, password: secret });
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return (
    <div className="login">
      <form onSubmit={submit} aria-label="Log in">
        <h1 className="row">
          <Brand />
          <span className="sr">Log in</span>
        </h1>
        {why && <p className="quiet">{why} Log in to go on where you were.</p>}
        {byToken ? (
          <PasswordInput
            key="token"
            label="Token"
            description="The first one is in admin.token, in the data directory of the peer that was bootstrapped."
            value={secret}
            onChange={(event) => setSecret(event.currentTarget.value)}
            autoComplete="off"
            autoFocus
            required
            withAsterisk={false}
          />
        ) : (
          <>
            <TextInput
              label="User"
              value={user}
              onChange={(event) => setUser(event.currentTarget.value)}
              autoComplete="username"
              autoCapitalize="none"
              autoFocus
              required
              withAsterisk={false}
            />
            <PasswordInput
              key="password"
              label="Password"
              value={secret}
              onChange={(event) => setSecret(event.currentTarget.value)}
              autoComplete="current-password"
              required
              withAsterisk={false}
            />
          </>
        )}
        {error !== null && <Trouble error={error} />}
        <Button type="submit" variant="filled" size="sm" loading={busy}>
          Log in
        </Button>
        <p>
          <button
            type="button"
            className="linkish"
            onClick={() => {
              setByToken(!byToken);
              setSecret("");
              setError(null);
            }}
          >
            {byToken ? "With a name and a password" : "With a token"}
          </button>
        </p>
      </form>
    </div>
  );
}
