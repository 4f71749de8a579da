"""Documentation that TabularMLPClassifier and TabularMLPRegressor share."""

PARAMETERS = """\
hidden_layer_sizes : int or sequence of int, default=(128, 128, 128)
    Units of the hidden layers.
epochs : int or None, default=None
    Number of passes over the rows, which the learning rate follows. None means 200 for up to 2,000 rows, down to 100
    from 4,000 rows on. Variants of the recipe are first tried on a part of the rows.
n_members : int, default=1
    Number of networks whose outputs are averaged (of each fold, with ``n_folds``). Five usually predict better.
n_folds : int or None, default=None
    Number of folds: the members of each are trained on the other rows, and predict its rows for ``oof_prediction_`` and
    ``score_``, an estimate for new rows. ``predict`` averages the members of all folds. None trains on all rows.
time_limit : float or None, default=None
    Seconds for training, after the table has been encoded. Short measurements show how many epochs, and how many
    members, fit into it; there is at least one epoch of one member (of each fold).
n_jobs : int or None, default=None
    Number of threads; members are trained at the same time. None uses the cores available to the process, -1 all cores.
random_state : int, RandomState or None, default=None
    Determines initial weights, shuffling, dropout, folds and the rows of trials. The result does not depend on the
    number of threads.
progress : bool, default=False
    Whether to show a progress bar on stderr.
matmul_precision : {'highest', 'high', 'medium'}, default='highest'
    Precision of the matrix products in training and prediction. 'highest' is float32. In 'medium' each factor is
    rounded to bfloat16, which has 8 significant bits; in 'high' it is the sum of two bfloat16, about 16 bits. Sums,
    weights, optimizer state and everything else are float32.
""".rstrip()
COMMUNICATOR = """\
communicator : mpi4py.MPI.Intracomm, fastmlp.DataParallel or None, default=None
    Train together with the other processes of an MPI job (``fastmlp.DataParallel``): they share out trials and members,
    or the batches of a single member. Callbacks are those of rank 0, for its members. Not with ``time_limit``."""
ATTRIBUTES = """\
members_ : list of MLP
    The trained networks.
encoder_ : TableEncoder
    The fitted encoder; ``encoder_.describe()`` lists how each column is encoded.
n_features_in_ : int
    Number of columns of the table.
feature_names_in_ : ndarray of str
    Names of the columns, if the table has names.
""".rstrip()
