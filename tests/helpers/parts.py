"""The parts of a config, for tests that run the training loop themselves."""

from jaxcifar.training import experiment


def parts_of(config):
    parts = experiment.build_experiment(config)
    dataset = experiment.load_data(config)
    optimizer, _ = parts.optimizer(len(dataset.train.labels) // config.batch_size)
    return (
        parts,
        parts.train_loop(dataset.train, optimizer),
        parts.start(optimizer, dataset.train.images),
    )
