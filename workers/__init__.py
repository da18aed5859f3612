"""What happens later, outside a request."""
