//! What a pod says of its worker: which process, whether it runs, how it ended, why it does not come up. No client.
