"""The verbs of the product: sync, typed, keyword-only functions that join the ORM and the engines."""
