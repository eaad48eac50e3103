"""From a published Llama checkpoint to a revision on disk, without torch."""
