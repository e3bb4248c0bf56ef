"""What each hyperparameter means, written once for both estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["documented"]

T = TypeVar("T", bound=type)

_PARAMETERS = """hidden_layer_sizes : tuple of int, default=(128, 128)
        Units of each hidden layer. ``()`` is the linear model.
    activation : {"relu", "gelu", "silu", "selu", "tanh", "sigmoid", "identity"} or callable, \
            default="relu"
        Applied after each hidden layer. A callable maps a tensor to one of the same shape,
        and draws no random numbers.
    normalization : {"batch", "layer"} or None, default=None
        Normalise the units before each activation: over the batch (Ioffe and Szegedy 2015) or over
        the layer (Ba et al. 2016).
    dropout : float in [0, 1) or "auto", default="auto"
        Share of hidden units zeroed at each training step (Srivastava et al. 2014), row by row; the
        same units for all rows where one batch holds them all. "auto": 0 where members end by the
        rows that they leave out (see ``n_members``), else 0.1.
    module : {"auto", "ensemble", "periodic", "mlp", "residual", "cnn"} or callable, default="auto"
        "auto": the measured best, now "ensemble": networks of ``hidden_layer_sizes`` that read
        numbers beside their piecewise-linear encoding (Gorishniy et al. 2022), and categories of
        more than 128 levels as vectors they learn (not with ``augmentation``), and average their
        predictions. "periodic": the same with waves of learnt frequencies (Gorishniy et al. 2022)
        beside the piecewise-linear encoding, at twice the time. "mlp": the plain network of
        ``hidden_layer_sizes``. "residual": a linear map to the first hidden size, then a residual
        block a hidden size. "cnn": for images, a block of a 3 x 3 convolution and a pooling for
        each of ``channels``, then the plain network. A callable
        ``(n_features, n_outputs) -> torch.nn.Module`` maps (n, n_features) to (n, n_outputs).
    n_members : int or "auto", default="auto"
        Networks trained together, whose predictions are averaged. With ``max_epochs="auto"`` each
        leaves out one fold of the rows, and the weights kept are those of the epoch that lost least
        on the rows left out, unless ``early_stopping`` decides. A classifier's outputs are made as
        sure as those rows allow, by one factor (Berta et al. 2025). "auto": 5 for "auto",
        "ensemble" and "periodic", 1 for other modules, and 1 with callbacks or an optimizer that
        mixes parameters.
    input_shape : tuple (channels, height, width) or None, default=None
        Shape of one image, where X is images as rows of pixels (channel by channel) or is not of
        shape (n, channels, height, width). Any module then takes images; all channels are scaled to
        mean 0 and deviation 1. None: what X says with ``module="cnn"``; else X is a table.
    channels : tuple of int, default=(16, 32)
        Channels of each convolution of "cnn"; sides of 8 pixels and more are halved behind it.
    @loss@
    optimizer : {"sgd", "adagrad", "rmsprop", "adam", "adamw"}, class or partial, default="adamw"
        A name, a ``torch.optim.Optimizer`` class, or a ``functools.partial`` of one, which may set
        anything but ``lr`` and ``weight_decay``: they are ``learning_rate`` and ``weight_decay``.
    learning_rate : float > 0, default=0.001
        Step size before the schedule.
    momentum : float in [0, 1) or None, default=None
        Momentum of "sgd" and "rmsprop", beta1 of the Adams. None: 0.9, but 0 for "rmsprop".
    rms_decay : float in [0, 1) or None, default=None
        Decay of the squared-gradient average: 0.9 for "rmsprop" (Hinton 2012), 0.999 for the Adams
        (Kingma and Ba 2015) where None. Of a class it is an argument of the partial.
    weight_decay : float >= 0, default=0.05
        L2 penalty on all parameters; decoupled from the gradient for "adamw" (Loshchilov and Hutter
        2019).
    max_grad_norm : float > 0 or None, default=None
        Gradients with a larger Euclidean norm are scaled down to it (Pascanu et al. 2013).
    schedule : {"step", "exponential", "cosine", "one_cycle", "plateau"}, callable or None, \
            default="cosine"
        Multiplier of the learning rate as a function of progress towards ``max_epochs``, in [0, 1];
        "plateau" reads the loss instead. ``partial_fit`` uses the constant rate.
    decay_every : int or None, default=None
        Epochs between two falls of "step". None: a third of ``max_epochs``.
    decay_factor : float in (0, 1] or None, default=None
        Factor of a fall of "step" and "plateau" (None: 0.1), and of each epoch of "exponential"
        (None: the factor that ends at 1 % of the rate).
    warmup : float in [0, 1), default=0.05
        Share of training during which the rate rises linearly from zero.
    batch_size : int or "auto", default="auto"
        Rows a step. "auto": 64 up to 1,024 rows, then 128, 256 (from 8,193), 512 (from 30,001) and
        1,024 (from 100,001); "cnn": 32, 64 (from 16,385) and 128 (from 65,537).
    max_epochs : int or "auto", default="auto"
        Passes over the rows; exactly so many without ``early_stopping``. With "auto", members end
        when 10 epochs in a row have not lowered the loss on the rows they left out; at most 50 up
        to 512 rows, then 60, 40 (from 2,049) and 25 (from 16,385). "cnn": 150, 80, 30 and 15.
    early_stopping : bool, default=False
        Stop when the loss on held-out rows has not fallen by ``tol`` for ``n_iter_no_change``
        epochs, and keep the weights of the best epoch.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows held out for early stopping where ``fit`` gets no validation rows.
    n_iter_no_change : int, default=10
        Patience of early stopping and of "plateau", in epochs.
    tol : float >= 0, default=1e-4
        What counts as lower.
    augmentation : {"noise", "dropout", "swap", "mixup", "rotate", "crop", "affine", "flip", \
            "colour", "erase"}, callable or None, default=None
        Changes the encoded rows of each batch in training, see `sklearn_dl.augmentation`. Of any
        rows: "noise" is normal, "dropout" sets values to 0, "mixup" mixes rows and their losses. Of
        tables: "swap" takes values from other rows. Of images: "rotate", "crop" (shift), "affine"
        (rotate, zoom and shift), "flip", "colour", "erase" (a rectangle). A callable ``rows ->
        rows``, ``(rows, generator) -> rows`` or ``(rows, generator, strength) -> rows``; images
        come as (n, channels, height, width).
    augmentation_strength : float in [0, 1], default=0.1
        Deviation of "noise"; probability of "dropout" and "swap"; both parameters of the beta
        distribution of "mixup"; largest turn of "rotate" and "affine" as a share of a half turn,
        shift as a share of the side, zoom and colours as a share; largest area of "erase". 0 is no
        augmentation.
    categorical_features : "from_dtype", array-like of str, int or bool, or None, \
            default="from_dtype"
        Columns that are categories, as in HistGradientBoostingClassifier.
    preprocessing : {"auto", "standard"} or None, default="auto"
        How the columns become inputs, see `sklearn_dl.tabular.TabularEncoder`.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights of the last one.
    random_state : int, RandomState instance or None, default=None
        Decides initial weights, shuffling, dropout and the held-out rows. None: fresh each time,
        without touching numpy's global state.
    verbose : bool or int, default=False
        Print a line an epoch.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision of training. "auto": float64 where X is float64 and one batch holds all rows, else
        float32.
    device : str, torch.device or None, default=None
        Where to train. None: torch's default device.
    callbacks : list or None, default=None
        skorch callbacks. Such a fit is never batched with others.
    """

_ATTRIBUTES = """n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where all are strings.
    n_outputs_ : int
        Outputs of the network.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int or None
        Epoch whose weights were kept, counted from 1, where held-out rows chose it.
    loss_curve_ : list of float
        Training loss of each epoch, the mean over its batches as they were met.
    validation_scores_ : list of float or None
        Accuracy or R2 on the held-out rows after each epoch.
    history_ : pandas.DataFrame
        A row an epoch: ``epoch``, ``train_loss``, ``valid_loss`` (of held-out rows; where there are
        none, of the rows that the members left out), ``learning_rate``,
        ``gradient_norm`` (of the last batch, before clipping), ``seconds``.
    encoder_ : TabularEncoder or ImageEncoder
        Turns X into inputs of the network.
    input_shape_ : tuple (channels, height, width) or None
        Of one image; None where X is a table.
    module_ : torch.nn.Module
        The trained network, encoded rows (n, n_encoded) to outputs (n, n_outputs).
    n_parameters_ : int
        Learnable numbers of the network.
    """


def documented(loss: str) -> Callable[[T], T]:
    """Class decorator: fill ``{parameters}`` and ``{attributes}`` of the docstring."""

    def fill(cls: T) -> T:
        if cls.__doc__ is not None:  # None under python -OO
            parameters = _PARAMETERS.replace("@loss@", loss).strip()
            text = cls.__doc__.replace("{parameters}", parameters)
            cls.__doc__ = text.replace("{attributes}", _ATTRIBUTES.strip())
        return cls

    return fill
