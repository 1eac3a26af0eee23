"""Networks: the flow policy, the chunk critic, their encoder, action selection and checkpoints."""
