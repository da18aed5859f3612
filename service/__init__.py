"""What happens: rules, storage, HTTP."""
