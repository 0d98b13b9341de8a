"""The help pages of ``train.py``: short, and without importing torch."""

USAGE = """\
usage: train.py COMMAND [--config FILE.yaml] [--section.option value ...]

  fit        train a network on a folder of videos
  validate   accuracy on val/, as the training validated
  test       accuracy on test/ (or val/), the published protocol: 10 clips x 3 crops
  predict    write class and probabilities of every video to a CSV file

  python train.py fit --data.root DIR                       DIR/{train,val}/<class>/<video>
  python train.py fit --config configs/sample.yaml          a whole experiment in one file
  python train.py test --checkpoint runs/NAME/DATE --data.root DIR

train.py COMMAND --help shows the usual options, --help_all every one."""

COMMON = """\
data
  --data.root DIR              DIR/{train,val,test}/<class>/<video>; the folders are the classes
                               or DIR/<class>/<video>: a fifth becomes val (--data.val_share,
                               --data.group REGEX; --data.val none: no validation)
  --data.official_split N      of UCF-101 or HMDB-51, whose own lists are read (1)
  --data.frames N              frames per clip (default: what the network was made for)
  --data.stride N              step between them
  --data.short_side N          size to which the short side of a video is scaled
  --data.crop N                side of the square that the network sees
  --data.sampling NAME         dense: frames a stride apart; segments: spread over the whole video
  --data.picture NAME          crop: squares; whole: all of the picture, in --data.rectangle [H,W]
                               (default: of crop² pixels, in the shape of most training videos)
  --data.batch_size N          clips per device (8)
  --data.num_workers N         processes that decode (one per core, at most 8)
device
  --trainer.accelerator NAME   auto, cpu, gpu (auto: a GPU where there is one)
  --trainer.devices N          how many (all)
"""

FIT = f"""\
usage: train.py fit --data.root DIR [--config FILE.yaml] [options]

Trains a network. Every option may stand in the file too; the command line wins. Without a file,
what no option says follows the data; the plan that is printed first says what and how to change it.

  --config FILE                a whole experiment, see configs/
  --out DIR                    runs go to DIR/NAME/DATE_TIME/ (runs)
  --name NAME                  of the run (default: data folder and network)
  --seed N                     of everything random (0)
  --dry-run                    print the plan, time and memory included, and stop
  --resume auto|PATH           go on with the newest run of that name, or with a run or checkpoint
network
  --model.name NAME            one of `videonl models` (i3d_r50_nl5)
  --model.options.OPTION V     of the network, such as --model.options.dropout 0.2
  --model.pretrained FILE      weights to start from: a file, a name, hf:USER/NAME; without a
                               --config, the recipe of configs/finetune.yaml is the default
  --model.compile true         torch.compile the network
{COMMON}  --trainer.precision NAME     auto: bf16-mixed on a GPU or a CPU with AMX, else 32-true
training
  --trainer.max_epochs N       passes over the training videos (20)
  --trainer.accumulate_grad_batches N
  --trainer.gradient_clip_val X
  --recipe.learning_rate X     at a batch of --recipe.reference_batch 64; scales with the batch
  --recipe.optimizer NAME      sgd, adamw (--recipe.beta2 0.95 forgets sooner than 0.999)
  --recipe.schedule NAME       cosine, step, constant
  --recipe.warmup X            share of the training in which the rate rises (0.05)
  --recipe.weight_decay X      (1e-4)
  --recipe.label_smoothing X   (0)
  --recipe.mixup X             alpha of mixup; --recipe.cutmix X likewise (0: off)
  --recipe.batch_norm NAME     train, frozen, sync
  --recipe.fresh_factor X      rate of a new head and new non-local blocks over the others'
  --recipe.class_weights NAME  none, balanced
  --recipe.checkpoint_stages L stages such as [res2,res3] that save memory and cost time
  --recipe.ema X               decay of a moving average of the weights, such as 0.999 (0: off)
classes of Lightning, or of yours as package.module.Class
  --trainer.callbacks NAME     such as EarlyStopping, with its arguments (docs/lightning.md)
  --trainer.logger NAME        such as WandbLogger, MLFlowLogger, CSVLogger
  --trainer.strategy NAME      such as ddp; --trainer.profiler NAME likewise, such as simple

--help_all lists every option."""

EVALUATION = f"""\
  --checkpoint PATH            a checkpoint, or the folder of a run (of which the best)
  --data.views CLIPSxCROPS     views per video; default: as the network was validated or published
  --protocol NAME              as a publisher's test: pyslowfast, pytorchvideo, caffe2, mmaction2,
                               gluoncv, torchvision, with the network's own clips
  --split NAME                 train, val or test (test where there is one, else val)
{COMMON}"""

VALIDATE = f"""\
usage: train.py validate --checkpoint PATH --data.root DIR [options]

Measures the accuracy on val/ as the training validated (--data.val_views CLIPSxCROPS: by others).

{EVALUATION}
--help_all lists every option."""

TEST = f"""\
usage: train.py test --checkpoint PATH --data.root DIR [options]

Measures clip@1 and video@1 as the network was validated or published, and writes a result file.

  --json FILE                  the result file (default: beside the checkpoint)
{EVALUATION}
--help_all lists every option."""

PREDICT = f"""\
usage: train.py predict --checkpoint PATH --data.root DIR [options]

Writes class and probabilities of every video of a data set. For single files: infer.py.

  --csv FILE                   where to (default: beside the checkpoint)
  --json FILE.jsonl            JSON Lines instead: one file per process (videonl merge makes one of
                               them); a run that was killed goes on when it is started again
{EVALUATION}
--help_all lists every option."""

PAGES = {"fit": FIT, "validate": VALIDATE, "test": TEST, "predict": PREDICT}
