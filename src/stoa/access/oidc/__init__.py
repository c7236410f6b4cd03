"""Signing in with an OpenID Connect provider (code flow with PKCE, state and nonce). Imported at the first sign-in: its
libraries are heavy."""
