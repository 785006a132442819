import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { CallError, send } from './api.ts';
import { Copy } from './empty.tsx';
import { Problem } from './parts.tsx';

/** The server sends here who comes by a link that opens nothing any more. */
const isUsedLink = (): boolean => new URLSearchParams(location.search).get('link') === 'used';

export function LoginPage({ onDone }: { readonly onDone: () => void }): JSX.Element {
  const [token, setToken] = useState('');
  const [error, setError] = useState<CallError | null>(null);
  const enter = async (): Promise<void> => {
    try {
      await send('/api/v1/login', { token });
      onDone();
    } catch (failure) {
      setError(failure instanceof CallError ? failure : new CallError(0, String(failure), undefined));
    }
  };
  return (
    <main class="login">
      <h1>Homeostat</h1>
      <p>
        Open the link that <code>homeostat start</code> printed, or paste your token. The local administrator's lies in the data directory:
      </p>
      <Copy text="cat .homeostat/token" />
      {isUsedLink() ? (
        <p role="status">
          The link that you opened has been used or is too old: each opens one session, soon after it was printed. The next start prints a
          new one.
        </p>
      ) : null}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void enter();
        }}
      >
        <input type="text" name="username" autocomplete="username" value="homeostat" hidden readOnly />
        <label class="field">
          Token
          <input
            type="password"
            autocomplete="current-password"
            autofocus
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        {error === null ? null : <Problem error={error} />}
        <button type="submit" class="primary" disabled={token.trim() === ''}>
          Sign in
        </button>
      </form>
    </main>
  );
}
